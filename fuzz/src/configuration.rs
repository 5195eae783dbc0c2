//! Files of repositories and sites: every problem has a place in the file, and reading them takes bounded time.

use osbs_config::{
    ConfigError, ContainerYaml, OsbsConf, ReactorConfig, UserParams, parse_additional_tags, parse_content_sets,
    parse_image_build_conf, parse_koji_artifacts, parse_repo_config, parse_url_artifacts,
};

/// The first byte, a digit, says which file the rest is.
pub fn configuration(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    let result = match which.wrapping_sub(b'0') % 10 {
        0 => ContainerYaml::parse(&text, "f").map(drop),
        1 => ReactorConfig::parse(&text, "f").map(|parsed| drop(parsed.value.redacted())),
        2 => OsbsConf::parse(&text, "f").map(drop),
        3 => UserParams::parse(&text, "f").map(|params| check_params(&params)),
        4 => parse_repo_config(&text, "f").map(drop),
        5 => parse_content_sets(&text, "f").map(drop),
        6 => parse_image_build_conf(&text, "f").map(drop),
        7 => parse_koji_artifacts(&text, "f").map(drop),
        8 => parse_url_artifacts(&text, "f").map(drop),
        _ => {
            let tags = parse_additional_tags(&text, "f");
            assert!(tags.value.iter().all(|tag| text.contains(tag.as_str())));
            Ok(())
        }
    };
    if let Err(error) = result {
        check_error(&error, &text);
    }
}

fn check_params(params: &UserParams) {
    let json = params.to_json();
    let again = UserParams::from_json(&json, "f").expect("what we wrote");
    assert_eq!(again.to_json(), json);
}

fn check_error(error: &ConfigError, text: &str) {
    let lines = text.split(['\n', '\r']).count();
    for problem in error.problems() {
        assert!(problem.position.line <= lines + 1, "line {} of {lines}", problem.position.line);
    }
    let _ = (error.to_string(), error.to_failure());
}

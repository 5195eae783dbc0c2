//! The published schemas and the parsers, on a whole site's files: what one refuses and the other takes is a list.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_config::{ContainerYaml, ReactorConfig, SchemaOf, UserParams};
use serde_json::{Value, json};

fn parses(file: SchemaOf, value: &Value) -> bool {
    let text = value.to_string();
    match file {
        SchemaOf::ConfigYaml => ReactorConfig::parse(&text, "config.yaml").is_ok(),
        SchemaOf::ContainerYaml => ContainerYaml::parse(&text, "container.yaml").is_ok(),
        SchemaOf::UserParams => UserParams::parse(&text, "USER_PARAMS").is_ok(),
    }
}

fn examples(file: SchemaOf) -> Vec<Value> {
    let texts: &[&str] = match file {
        SchemaOf::ConfigYaml => {
            &[include_str!("site_files/config.yaml"), include_str!("site_files/config-seed.yaml"), "version: 1"]
        }
        SchemaOf::ContainerYaml => {
            &[include_str!("site_files/container.yaml"), include_str!("site_files/container-seed.yaml"), "null"]
        }
        SchemaOf::UserParams => &[include_str!("site_files/user-params.json")],
    };
    texts.iter().map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

fn schema(file: SchemaOf) -> jsonschema::Validator {
    let schema = file.json();
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{}: {error}", file.name()));
    jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(&schema).unwrap()
}

/// Every place of a value, as JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    let escape = |key: &String| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => members.iter().for_each(|(key, v)| places(v, &format!("{at}/{}", escape(key)), out)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), out)),
        _ => {}
    }
}

/// Everything that somebody could write there instead, and the value without it or with something more.
fn changes(whole: &Value, at: &str) -> Vec<Value> {
    let probes = json!([
        null, true, 0, 7, -1, 1.5, 5_000_000_000_i64, "", "text", "x-y z", "v1", [], ["text"], ["text", "text"], [7],
        [null], {}, {"surprise": 1}, [{}], [["text"]]
    ]);
    let mut changed = Vec::new();
    for probe in probes.as_array().unwrap() {
        let mut value = whole.clone();
        *value.pointer_mut(at).unwrap() = probe.clone();
        changed.push(value);
    }
    let mut more = whole.clone();
    if let Some(Value::Object(members)) = more.pointer_mut(at) {
        members.insert("surprise".to_owned(), json!(1));
        changed.push(more);
    }
    if let Some((parent, key)) = at.rsplit_once('/') {
        let mut less = whole.clone();
        match less.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.shift_remove(&key.replace("~1", "/").replace("~0", "~"))),
            Value::Array(items) => drop(items.remove(key.parse().unwrap())),
            _ => {}
        }
        changed.push(less);
    }
    changed
}

/// Where the parser knows more than a schema can: the form of a text, a name out of another list.
const PARSER_ALONE: [&str; 9] = [
    "/registries/0/url",
    "/source_registry/url",
    "/fetch/allow",
    "/fetch/deny",
    "/odcs/default_signing_intent",
    "/odcs/signing_intents",
    "/smtp/tls",
    "/smtp/auth",
    "/pulp",
];

#[test]
fn no_schema_refuses_what_its_parser_takes_and_the_other_way_round() {
    for file in SchemaOf::ALL {
        let schema = schema(file);
        let mut tried = 0;
        for example in examples(file) {
            assert!(parses(file, &example), "{}: {example}", file.name());
            assert!(schema.is_valid(&example), "{}: {}", file.name(), schema.validate(&example).unwrap_err());
            let mut all = Vec::new();
            places(&example, "", &mut all);
            for at in all {
                for changed in changes(&example, &at) {
                    tried += 1;
                    let (parsed, valid) = (parses(file, &changed), schema.is_valid(&changed));
                    let known = PARSER_ALONE.iter().any(|place| at.starts_with(place));
                    assert!(
                        parsed == valid || (valid && known),
                        "{}: at {at:?} the parser says {parsed}, the schema {valid}: {}",
                        file.name(),
                        changed.pointer(&at).unwrap_or(&Value::Null)
                    );
                }
            }
        }
        println!("{}: {tried} changed files", file.name());
        assert!(tried > 100);
    }
}

#[test]
fn groups_of_keys() {
    let login = |auth: Value| {
        json!({"version": 1, "koji": {"hub_url": "h", "root_url": "r", "auth": auth},
               "pulp": {"name": "p", "auth": {"username": "u", "password": "p"}}})
    };
    let schema = schema(SchemaOf::ConfigYaml);
    for (auth, good) in [
        (json!({}), true),
        (json!({"ssl_certs_dir": "d"}), true),
        (json!({"krb_principal": "p", "krb_keytab_path": "k"}), true),
        (json!({"krb_principal": "p", "krb_keytab_path": "k", "ssl_certs_dir": null}), true),
        (json!({"krb_principal": "p"}), false),
        (json!({"krb_cache_path": "c"}), false),
        (json!({"krb_principal": "p", "krb_keytab_path": null}), false),
        (json!({"krb_principal": "p", "krb_keytab_path": "k", "ssl_certs_dir": "d"}), false),
        (json!({"username": "u", "password_path": "p", "proxyuser": "x"}), true),
        (json!({"username": "u"}), false),
        (json!({"username": "u", "password_path": "p", "ssl_certs_dir": "d"}), false),
        (json!({"username": "u", "password_path": "p", "krb_principal": "p", "krb_keytab_path": "k"}), false),
    ] {
        let value = login(auth.clone());
        assert_eq!((parses(SchemaOf::ConfigYaml, &value), schema.is_valid(&value)), (good, good), "{auth}");
    }
}

//! Stages side by side, with a real runtime: they overlap, wait where they must, and end together.

mod support;

use osbs_builder::{BuildError, ParentImages};
use osbs_image::StoredImage;
use osbs_types::Architecture;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::{Seen, Site, ready};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc"), ("umoci", "umoci")];

#[test]
fn independent_stages_overlap_and_their_lines_are_told_apart() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let seen = Seen::default();
    // Each waits for a sign of the other: one after the other, neither would end well.
    let meet = |own: &str, other: &str| {
        format!(
            "FROM localhost/base AS {own}\nRUN --mount=type=cache,target=/meet echo of {own}; touch /meet/{own}; \
             for i in $(seq 200); do test -e /meet/{other} && exec touch /made; sleep .1; done; exit 1\n"
        )
    };
    let last = "FROM localhost/base\nCOPY --from=one /made /one\nRUN echo of the last\nCOPY --from=two /made /two\n";
    let text = format!("{}{}{last}", meet("one", "two"), meet("two", "one"));
    let built = site
        .build_with(&text, |_| {}, &seen, &CancellationToken::new())
        .unwrap_or_else(|e| panic!("{}", e.to_failure()));
    let tree = site.unpack(&built.image, "side");
    assert!(tree.contains_key(Path::new("one")) && tree.contains_key(Path::new("two")));
    let lines = seen.lines.lock().expect("lock").clone();
    for line in ["[one] of one", "[two] of two"] {
        assert!(lines.contains(&line.as_bytes().to_vec()), "{line}: {lines:?}");
    }
    let steps = seen.steps.lock().expect("lock").clone();
    assert_eq!(steps.len(), 8, "{steps:?}");
    for (index, step) in steps.iter().enumerate() {
        assert!(step.starts_with(&format!("{}/8 ", index + 1)), "{steps:?}");
    }
}

#[test]
fn one_after_the_other_has_no_names_before_its_lines() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let seen = Seen::default();
    let text = "FROM localhost/base AS one\nRUN echo 1 | tee /made\nFROM one AS two\nRUN echo 2 | tee -a /made\n\
                FROM localhost/base\nENV A=b\nCOPY --from=two /made /made\nRUN cat /made\n";
    site.build_with(text, |_| {}, &seen, &CancellationToken::new()).expect("build");
    assert_eq!(seen.lines.lock().expect("lock").join(&b' '), b"1 2 1 2");
}

#[test]
fn a_failure_ends_the_other_stages_and_is_what_is_told() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let check = |text: &str, line: usize| {
        let started = Instant::now();
        let error = site.build(text).expect_err(text);
        let BuildError::Instruction { position, .. } = &error else { panic!("{error:?}") };
        assert_eq!(position.line, line, "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
    };
    let last = "FROM localhost/base\nCOPY --from=one /x /x\nCOPY --from=two /x /x\n";
    check(&format!("FROM localhost/base AS one\nRUN sleep 100\nFROM localhost/base AS two\nRUN false\n{last}"), 4);
    check(
        &format!("FROM localhost/base AS one\nRUN sleep .2; false\nFROM localhost/base AS two\nRUN sleep 100\n{last}"),
        2,
    );
    check(&format!("FROM localhost/none AS one\nFROM localhost/base AS two\nRUN sleep 100\n{last}"), 1);
}

#[test]
fn cancelling_ends_all_stages() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let cancel = CancellationToken::new();
    let seen = Seen { cancel_at: Some((b"now".to_vec(), cancel.clone())), ..Seen::default() };
    let text = "FROM localhost/base AS one\nRUN sleep 100\nFROM localhost/base AS two\nRUN sleep .3; echo now; sleep 100\n\
                FROM one\nRUN --mount=from=two,target=/two true\n";
    let started = Instant::now();
    let error = site.build_with(text, |_| {}, &seen, &cancel).expect_err("cancelled");
    assert!(matches!(error, BuildError::Cancelled), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
}

/// Counts how often each image is asked for.
struct Counted<'s>(&'s Site, Mutex<Vec<String>>);

impl ParentImages for Counted<'_> {
    fn parent(
        &self,
        name: &str,
        platform: &Architecture,
        cancel: &CancellationToken,
    ) -> Result<StoredImage, BuildError> {
        self.1.lock().expect("lock").push(name.to_owned());
        if name == "localhost/slow" {
            let started = Instant::now();
            while !cancel.is_cancelled() && started.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(10));
            }
            return Err(BuildError::Cancelled);
        }
        self.0.parent(name, platform, cancel)
    }
}

#[test]
fn an_image_is_fetched_once_however_many_stages_want_it() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let parents = Counted(&site, Mutex::default());
    let text = "FROM localhost/base AS one\nRUN echo > /1\nFROM localhost/base AS two\nRUN echo > /2\nFROM two\n\
                COPY --from=localhost/base /etc/passwd /p\nCOPY --from=one /1 /1\nFROM localhost/none AS unused\n";
    let dockerfile = osbs_dockerfile::Dockerfile::parse(text, "Dockerfile").expect("parse");
    let (context, work) = (site.context(), site.work());
    let mut request =
        osbs_builder::BuildRequest::new(&dockerfile, &context, &parents, support::native(), &work, &site.store);
    request.runtime = Some(&site.runtime);
    request.target = Some("2".into());
    osbs_builder::build(request, &Seen::default(), &CancellationToken::new()).expect("build");
    assert_eq!(*parents.1.lock().expect("lock"), ["localhost/base"]);
    site.assert_clean();
}

#[test]
fn a_failure_ends_the_fetching_of_an_image_too() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let parents = Counted(&site, Mutex::default());
    let text = "FROM localhost/slow AS one\nFROM localhost/base AS two\nRUN false\nFROM localhost/base\n\
                COPY --from=one /x /x\nCOPY --from=two /x /x\n";
    let dockerfile = osbs_dockerfile::Dockerfile::parse(text, "Dockerfile").expect("parse");
    let (context, work) = (site.context(), site.work());
    let mut request =
        osbs_builder::BuildRequest::new(&dockerfile, &context, &parents, support::native(), &work, &site.store);
    request.runtime = Some(&site.runtime);
    let started = Instant::now();
    let error = osbs_builder::build(request, &Seen::default(), &CancellationToken::new()).expect_err("RUN false");
    assert_eq!(error.position().map(|position| position.line), Some(3), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    site.assert_clean();
}

#[test]
fn caches_that_two_stages_want_alone_in_other_orders() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let cache = |id: &str, at: &str| format!("--mount=type=cache,id={id},target=/{at},sharing=locked");
    let stage = |name: &str, first: &str, second: &str| {
        let mounts = format!("{} {} {}", cache(first, "a"), cache(second, "b"), cache(first, "again"));
        let run = format!("RUN {mounts} test ! -e /a/busy; touch /a/busy; echo {name} >> /a/n; rm /a/busy; touch /m\n");
        format!("FROM localhost/base AS {name}\n{}", run.repeat(3))
    };
    let last = "FROM localhost/base\nCOPY --from=one /m /one\nCOPY --from=two /m /two\n";
    let started = Instant::now();
    let text = format!("{}{}{last}", stage("one", "x", "y"), stage("two", "y", "x"));
    site.build(&text).unwrap_or_else(|e| panic!("{}", e.to_failure()));
    assert!(started.elapsed() < Duration::from_mins(1), "took {:?}", started.elapsed());
}

#[test]
fn a_name_that_only_the_stage_knows_is_waited_for() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let text = "FROM localhost/base AS one\nRUN sleep .3; echo 1 > /made\nFROM localhost/base\nENV FROM=one\n\
                COPY --from=$FROM /made /made\nRUN --mount=from=${FROM},target=/m cmp /m/made /made\n";
    let built = site.build(text).unwrap_or_else(|e| panic!("{}", e.to_failure()));
    assert_eq!(built.image.layers.len(), 2);
}

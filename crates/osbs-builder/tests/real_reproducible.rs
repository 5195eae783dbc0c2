//! Two builds in two folders at two times give one digest, when times are clamped; with a real runtime.

mod support;

use osbs_builder::BuiltImage;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};
use support::{Seen, Site, ready};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc"), ("umoci", "umoci")];

/// Before the files of any context, after those of the parent.
const EPOCH: i64 = 1_600_000_000;

const TEXT: &str = "FROM localhost/base AS tool\nCOPY --chown=app tree /tool\nRUN date > /dev/null; echo made > /tool/made\n\
    FROM localhost/base\nARG SOURCE_DATE_EPOCH\nCOPY tree /tree\nCOPY --from=tool /tool /tool\n\
    COPY <<text /text\nhello\ntext\nWORKDIR /work\n\
    RUN mkdir a; for i in 3 1 2; do echo $i > a/$i; done; ln a/1 b; ln -s a c; rm /var/lib/app/old; touch /etc/passwd; \
    echo $SOURCE_DATE_EPOCH > epoch\nRUN touch -d @1000000000 /work/old\nLABEL a=b\n";

/// A site whose context was written in another order at another time, and what it builds.
fn built(names: &[&str], age: Duration, threads: usize, clamp: Option<i64>) -> (Site, BuiltImage) {
    let site = Site::new();
    for name in names {
        site.file(&format!("tree/{name}"), name);
    }
    for name in names.iter().chain(&[""]) {
        let file = File::open(site.context().join("tree").join(name)).expect("open");
        file.set_modified(SystemTime::now() - age).expect("time");
    }
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000, 0);
    File::open(site.file("tree/old", "old")).and_then(|file| file.set_modified(old)).expect("time");
    let set = |request: &mut osbs_builder::BuildRequest<'_>| {
        request.clamp_mtime = clamp;
        request.threads = threads;
    };
    let image = site.build_with(TEXT, set, &Seen::default(), &CancellationToken::new());
    (site, image.unwrap_or_else(|e| panic!("{}", e.to_failure())))
}

#[test]
fn two_builds_in_two_folders_give_one_digest() {
    if !ready(PROGRAMS) {
        return;
    }
    let (names, reversed) = (["a/x", "b", "c/d/e"], ["c/d/e", "b", "a/x"]);
    let (here, one) = built(&names, Duration::ZERO, 1, Some(EPOCH));
    let (_there, two) = built(&reversed, Duration::from_hours(1000), 3, Some(EPOCH));
    assert_eq!(one.image.manifest.digest, two.image.manifest.digest);
    let (_now, other) = built(&names, Duration::from_hours(1), 1, None);
    assert_ne!(one.new_layer.diff_id, other.new_layer.diff_id, "nothing to be clamped: the test shows nothing");

    let config = &one.image.image_config;
    assert_eq!(config.created.as_deref(), Some("2020-09-13T12:26:40Z"));
    assert!(config.history.iter().skip(1).all(|entry| entry.created == config.created), "{:?}", config.history);
    let tree = here.unpack(&one.image, "one");
    assert!(tree.values().all(|entry| entry.mtime <= EPOCH || entry.mtime > EPOCH + 1_000_000), "later than the clamp");
    let at = |path: &str| &tree[std::path::Path::new(path)];
    assert_eq!((at("tree/old").mtime, at("work/old").mtime, at("tree/b").mtime), (1_500_000_000, 1_000_000_000, EPOCH));
    assert_eq!(at("work/epoch").content, format!("{EPOCH}\n").as_bytes());

    // What is kept of the stage is what unpacking the layer gives.
    let chain = one.image.chain_ids().pop().expect("a layer");
    let (kept, fresh) = (here.store.layer_path(&chain), here.dir.path().join("kept"));
    // The root folder is in no layer, and nobody sees who made a whiteout and when.
    let look = |root: &std::path::Path| {
        let mut tree = support::look(root);
        tree.retain(|path, entry| !path.as_os_str().is_empty() && entry.mode & 0o170_000 != 0o020_000);
        tree
    };
    let kept_tree = look(&kept);
    fs::rename(&kept, &fresh).expect("the layer was kept");
    here.store.unpack(&one.image, &CancellationToken::new(), &|_| {}).expect("unpacked again");
    assert_eq!(kept_tree, look(&kept));
}

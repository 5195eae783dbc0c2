//! A hub with a target, a content generator's account and a builder; and an import's files and metadata.

use crate::harness::{Client, Response, TestHub, add_user};
use md5::Digest as _;
use osbs_koji::xmlrpc::decode_response;
use osbs_koji::{Arguments, Fault, Value};
use serde_json::{Value as Json, json};

pub const TAG: &str = "f43-container-candidate";
pub const PACKAGE: &str = "caddy-container";
pub const IMAGE: &str = "docker-image-sha256:6c2f4d8c39b1.x86_64.tar.gz";
pub const IMAGE_BYTES: &[u8] = b"the bytes of an image, compressed by somebody";
pub const LOG: &str = "x86_64.log";
pub const LOG_BYTES: &[u8] = b"2017-09-20 10:15:33 - Step 1/3 : FROM fedora:43\n";

/// What an administrator does once.
pub fn set_up(admin: &Client<'_>, builder: bool) {
    admin.ok("createTag", ["f43-container-build".into()]);
    admin.ok("createTag", [TAG.into()]);
    admin.ok("createBuildTarget", [TAG.into(), "f43-container-build".into(), TAG.into()]);
    admin.ok("packageListAdd", [TAG.into(), PACKAGE.into(), "mwells".into()]);
    admin.ok("grantCGAccess", ["reactor".into(), "atomic-reactor".into(), true.into()]);
    if builder {
        admin.ok("addHost", ["builder".into(), Value::Array(vec!["x86_64".into()])]);
        admin.ok("addHostToChannel", ["builder".into(), "container".into()]);
        admin.call("editHost", Arguments::of(["builder".into()]).named("capacity", 2.0)).unwrap();
    }
}

/// A hub with all of it. With a builder, its host user may log in.
pub fn hub(builder: bool) -> TestHub {
    let hub = TestHub::start();
    add_user(&hub, "mwells");
    add_user(&hub, "reactor");
    set_up(&hub.login("kojiadmin"), builder);
    if builder {
        add_user(&hub, "builder");
    }
    hub
}

/// The builder's session.
pub fn builder(hub: &TestHub) -> Client<'_> {
    let builder = hub.login("builder");
    builder.ok("exclusiveSession", [true.into()]);
    builder
}

struct HexOf(Vec<u8>);

impl std::fmt::LowerHex for HexOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub fn md5_of(bytes: &[u8]) -> String {
    format!("{:x}", HexOf(md5::Md5::digest(bytes).to_vec()))
}

/// A raw upload.
pub fn raw_upload(client: &Client<'_>, query: &str, bytes: &[u8]) -> Result<Value, Fault> {
    let number = client.number.replace(client.number.get() + 1).to_string();
    let id = client.id.to_string();
    let headers = [
        ("Koji-Session-Id", id.as_str()),
        ("Koji-Session-Key", client.key.as_str()),
        ("Koji-Session-Callnum", number.as_str()),
        ("Content-Type", "application/octet-stream"),
    ];
    let response = client.hub.request("POST", &format!("/kojihub?{query}"), &headers, bytes);
    assert_eq!(response.status, 200);
    decode_response(&response.body).unwrap()
}

/// The files of an import.
pub fn upload_all(client: &Client<'_>, directory: &str) {
    for (name, bytes) in [(IMAGE, IMAGE_BYTES), (LOG, LOG_BYTES)] {
        let name = name.replace(':', "%3A");
        let query = format!("filename={name}&filepath={directory}&fileverify=adler32&offset=0&overwrite=1");
        raw_upload(client, &query, bytes).unwrap();
    }
}

/// Metadata of an image build with one image and one log.
pub fn metadata(release: &str) -> Json {
    json!({
        "metadata_version": 0,
        "build": {
            "name": PACKAGE, "version": "2.4", "release": release, "source": "git://example.com/caddy#0b7e1f",
            "start_time": 1_505_902_500, "end_time": 1_505_902_560.5, "owner": "mwells",
            "extra": {"image": {"autorebuild": false, "help": null}},
        },
        "buildroots": [{
            "id": "x86_64-1", "host": {"os": "Fedora Linux 43", "arch": "x86_64"},
            "content_generator": {"name": "atomic-reactor", "version": "1.6.28"},
            "container": {"type": "docker", "arch": "x86_64"},
            "tools": [{"name": "docker", "version": "1.12.6"}], "components": [],
            "extra": {"osbs": {"build_id": "caddy-1"}},
        }],
        "output": [
            {"buildroot_id": "x86_64-1", "filename": LOG, "filesize": LOG_BYTES.len(), "arch": "noarch",
             "checksum_type": "md5", "checksum": md5_of(LOG_BYTES), "type": "log"},
            {"buildroot_id": "x86_64-1", "filename": IMAGE, "filesize": IMAGE_BYTES.len(), "arch": "x86_64",
             "checksum_type": "md5", "checksum": md5_of(IMAGE_BYTES), "type": "docker-image",
             "components": [{"type": "rpm", "name": "not-in-koji", "version": "2", "release": "1", "epoch": null,
                             "arch": "x86_64", "sigmd5": "b", "signature": null}],
             "extra": {"image": {"arch": "x86_64"}, "docker": {"id": "sha256:6c2f4d8c39b1"}}},
        ],
    })
}

/// GET of a file.
pub fn get(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> Response {
    hub.request("GET", &format!("/kojifiles/{}", path.replace(':', "%3A")), headers, b"")
}

/// A build that was imported without a reservation; its id.
pub fn import(client: &Client<'_>, release: &str) -> i64 {
    let directory = format!("koji-upload/{release}.AbCdEfGh");
    upload_all(client, &directory);
    let build = client.ok("CGImport", [Value::from_json(&metadata(release)), directory.into()]);
    build.int_of("id").unwrap()
}

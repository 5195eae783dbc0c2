//! Images of a build on Kubernetes are those of the same commit on this machine.

use crate::kubernetes_site::KubernetesSite;
use crate::{PLATFORMS, parse, run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Manifest and configuration of the newest `hello`, by platform. Both clusters give it the release 1.
pub fn images(site: &KubernetesSite) -> Vec<(Value, Value)> {
    let name = format!("docker://{}/example/hello:1.0-1", site.world.registry);
    let inspect = |more: &[&str], name: &str| {
        parse(&run("skopeo", &[&["inspect", "--raw", "--tls-verify=false"], more, &[name]].concat()))
    };
    let index = inspect(&[], &name);
    let of = |(_, architecture): &(&str, &str)| {
        let entries = index["manifests"].as_array().expect("an index");
        let entry =
            entries.iter().find(|entry| entry["platform"]["architecture"] == *architecture).expect("the platform");
        let digest = entry["digest"].as_str().expect("a digest");
        let by_digest = format!("{}@{digest}", name.rsplit_once(':').expect("a tag").0);
        (inspect(&[], &by_digest), inspect(&["--config"], &by_digest))
    };
    PLATFORMS.iter().map(of).collect()
}

/// Files of a layer: names, kinds, owners, modes and content. Times and what RUN wrote with the time in it are the build's.
const FILES_OF_LAYER: &str = r#"
import hashlib, json, sys, tarfile
found = {}
tar = tarfile.open(sys.argv[1], "r:*")
for member in tar:
    content = hashlib.sha256(tar.extractfile(member).read()).hexdigest() if member.isreg() else member.linkname
    found[member.name] = [member.type.decode(), member.mode, member.uid, member.gid, content]
print(json.dumps(found))
"#;

/// Images of the cluster on this machine and those of Kubernetes, of the same commit: what does not tell of time and place is
/// the same.
#[track_caller]
pub fn check_same_images(site: &KubernetesSite, here: &[(Value, Value)], there: &[(Value, Value)]) {
    for (((here, config), (there, other)), (platform, _)) in here.iter().zip(there).zip(PLATFORMS) {
        let layers = |manifest: &Value| -> Vec<String> {
            let layers = manifest["layers"].as_array().expect("layers");
            layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
        };
        let (here, there) = (layers(here), layers(there));
        assert_eq!(here.len(), there.len());
        assert_eq!(here[..here.len() - 1], there[..there.len() - 1], "the parent's layers");
        let same = |config: &Value| {
            let mut config = config.clone();
            for key in ["created", "history", "rootfs"] {
                config.as_object_mut().expect("an object").remove(key);
            }
            let labels = config["config"]["Labels"].as_object_mut().expect("labels");
            for label in ["build-date", "com.redhat.build-host"] {
                assert!(labels.remove(label).is_some(), "{label}");
            }
            config
        };
        assert_eq!(same(config), same(other), "{platform}");
        let files = |digest: &str| -> BTreeMap<String, Value> {
            let blob = site.world.path("blob");
            let url = format!("http://{}/v2/example/hello/blobs/{digest}", site.world.registry);
            run("curl", &["-sSf", "-o", &blob.display().to_string(), &url]);
            serde_json::from_str(&run("python3", &["-c", FILES_OF_LAYER, &blob.display().to_string()])).expect("JSON")
        };
        let (mut here, mut there) = (files(&here[here.len() - 1]), files(&there[there.len() - 1]));
        // The database of packages says when each was installed.
        let with_times = |name: &str| name.contains("var/lib/rpm/") || name.starts_with("root/buildinfo/");
        let names = |files: &BTreeMap<String, Value>| {
            files
                .keys()
                .map(|name| if with_times(name) { "(with times)".to_owned() } else { name.clone() })
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&here), names(&there), "{platform}: files");
        here.retain(|name, _| !with_times(name));
        there.retain(|name, _| !with_times(name));
        assert_eq!(here, there, "{platform}");
    }
}

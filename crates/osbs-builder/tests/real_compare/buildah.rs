//! The same Dockerfile built by buildah, and what came of it: read where buildah's storage keeps it.

use crate::cases::Case;
use crate::support::{Site, run};
use crate::tree::{Tree, layers};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BASE: &str = "localhost/base:latest";

pub struct Buildah {
    dir: PathBuf,
}

impl Buildah {
    /// With the base image in its storage. The overlay driver: the vfs driver copies the base for every container.
    pub fn new(site: &Site) -> Self {
        let dir = site.dir.path().join("buildah");
        fs::create_dir_all(&dir).expect("folder");
        let layout = dir.join("base");
        osbs_image::write_oci_layout(&site.store, &site.images["localhost/base"], &layout, "base").expect("layout");
        let buildah = Self { dir };
        run("skopeo", &["copy", "--quiet", &format!("oci:{}:base", layout.display()), &buildah.stored(BASE)]);
        buildah
    }

    /// What skopeo calls an image of this storage.
    pub fn stored(&self, image: &str) -> String {
        let dir = self.dir.display();
        format!("containers-storage:[overlay@{dir}/root+{dir}/run]{image}")
    }

    pub fn buildah(&self, args: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new("buildah")
            .args(["--storage-driver", "overlay", "--root"])
            .arg(self.dir.join("root"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .args(args)
            .output()
            .expect("buildah");
        if output.status.success() { Ok(output.stdout) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    /// The tree and the config, or what buildah said.
    pub fn build(&self, case: &Case, context: &Path) -> Result<(Tree, Value), String> {
        let name = &case.name;
        if let Some(parent) = &case.parent {
            self.bud(&format!("parent-{name}"), parent, &Case::default(), context)?;
        }
        let text = case.text.replace("@parent@", &format!("localhost/parent-{name}"));
        let id = self.bud(name, &text, case, context)?;
        let root = self.dir.join("root");
        let images = json(&root.join("overlay-images/images.json"));
        let image = images.as_array().and_then(|list| list.iter().find(|it| it["id"] == id.as_str()));
        let top = image.expect("the image is in the storage")["layer"].as_str().expect("layer").to_owned();
        let stored = json(&root.join("overlay-layers/layers.json"));
        let stored = stored.as_array().expect("layers");
        let mut folders = Vec::new();
        let mut next = Some(top);
        while let Some(id) = next {
            folders.push(root.join("overlay").join(&id).join("diff"));
            let layer = stored.iter().find(|it| it["id"] == id.as_str()).expect("layer");
            next = layer["parent"].as_str().map(str::to_owned);
        }
        Ok((layers(&folders, self.dir.join(format!("{name}.tree"))), self.config(&id)))
    }

    fn bud(&self, name: &str, text: &str, case: &Case, context: &Path) -> Result<String, String> {
        let path = |end: &str| self.dir.join(format!("{name}.{end}")).display().to_string();
        let (file, id, ignore) = (path("Dockerfile"), path("id"), path("ignore"));
        fs::write(&file, text).expect("Dockerfile");
        // buildah sets limits of its own, which not every root may raise again.
        let limit = |resource| rustix::process::getrlimit(resource).maximum.unwrap_or(20_000);
        let files = limit(rustix::process::Resource::Nofile);
        let processes = limit(rustix::process::Resource::Nproc).min(32_768);
        let mut args: Vec<String> = ["bud", "--format", "docker", "--isolation", "chroot", "--quiet", "--pull-never"]
            .into_iter()
            .map(str::to_owned)
            .collect();
        args.extend([format!("--ulimit=nofile={files}:{files}"), format!("--ulimit=nproc={processes}:{processes}")]);
        args.extend([format!("--iidfile={id}"), format!("--tag=localhost/{name}"), format!("--file={file}")]);
        args.extend(case.args.iter().map(|(key, value)| format!("--build-arg={key}={value}")));
        args.extend(case.target.iter().map(|target| format!("--target={target}")));
        if let Some(text) = &case.ignore {
            fs::write(&ignore, text).expect("ignore file");
            args.push(format!("--ignorefile={ignore}"));
        }
        args.push(context.display().to_string());
        self.buildah(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        let id = fs::read_to_string(&id).expect("image id");
        Ok(id.trim().trim_start_matches("sha256:").to_owned())
    }

    fn config(&self, id: &str) -> Value {
        let folder = self.dir.join("root/overlay-images").join(id);
        // Under base64 names, among the manifest and signatures.
        let files = fs::read_dir(folder).expect("image").map(|entry| entry.expect("entry").path());
        let values = files.filter_map(|path| serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok());
        values.into_iter().find(|value| value["rootfs"].is_object()).expect("config")
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("read")).expect("json")
}

//! The image of the builds' pods: this program and the libraries it needs, nothing else.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its name on the node.
pub const IMAGE: &str = "localhost/osbs-test/conforms:1";
/// The program in it.
pub const PROGRAM: &str = "/program";

/// Writes it as an archive, as `docker save` does, into `folder`. Its name is given when it is imported: one that is in it
/// too would replace the image while it is unpacked.
pub fn archive(folder: &Path) -> PathBuf {
    let (root, parts) = (folder.join("root"), folder.join("parts"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&parts).unwrap();
    fs::create_dir_all(root.join("tmp")).unwrap();
    let program = std::env::current_exe().unwrap();
    // Debug information is most of it.
    run(Command::new("strip").arg("-o").arg(root.join(&PROGRAM[1..])).arg(&program));
    for library in libraries(&program) {
        let place = root.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(&library, place).unwrap();
    }
    tar(&root, &parts.join("layer.tar"));
    let digest = Sha256::digest(fs::read(parts.join("layer.tar")).unwrap());
    let hex = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{hex}")]},
    });
    fs::write(parts.join("config.json"), config.to_string()).unwrap();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"]}]);
    fs::write(parts.join("manifest.json"), manifest.to_string()).unwrap();
    let archive = folder.join("image.tar");
    tar(&parts, &archive);
    archive
}

fn libraries(program: &Path) -> Vec<PathBuf> {
    let told = Command::new("ldd").arg(program).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn tar(folder: &Path, archive: &Path) {
    run(Command::new("tar").arg("-C").arg(folder).args(["--owner=0", "--group=0", "-cf"]).arg(archive).arg("."));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

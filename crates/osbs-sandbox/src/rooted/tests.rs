//! Hostile trees.
use super::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

const OWNER: Owner = Owner { uid: 1234, gid: 4321 };

/// `outside/secret` and, beside it, `root` with links that would lead there.
struct Trap {
    dir: tempfile::TempDir,
    root: Root,
}

impl Trap {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["outside", "root/etc", "root/deep/er"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("outside/secret"), "outside").unwrap();
        std::fs::write(at("root/etc/passwd"), "inside").unwrap();
        symlink(at("outside"), at("root/absolute")).unwrap();
        symlink("../outside", at("root/relative")).unwrap();
        symlink("../../../../../../../../..", at("root/up")).unwrap();
        symlink("/", at("root/slash")).unwrap();
        symlink("/etc/passwd", at("root/to-passwd")).unwrap();
        symlink("../outside/secret", at("root/to-secret")).unwrap();
        symlink("/var/made", at("root/dangling")).unwrap();
        symlink("loop", at("root/loop")).unwrap();
        let root = Root::open(&at("root")).unwrap();
        Self { dir, root }
    }

    fn outside(&self) -> Vec<OsString> {
        Root::open(&self.dir.path().join("outside")).unwrap().list(Path::new("/")).unwrap()
    }

    fn check_untouched(&self) {
        assert_eq!(self.outside(), ["secret"]);
        assert_eq!(std::fs::read_to_string(self.dir.path().join("outside/secret")).unwrap(), "outside");
    }
}

fn read(root: &Root, path: &str) -> Result<String, io::ErrorKind> {
    root.read_small(Path::new(path), 100).map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|e| e.source.kind())
}

#[test]
fn reading_stays_inside() {
    let trap = Trap::new();
    for (path, expected) in [
        ("etc/passwd", Ok("inside")),
        ("/etc/passwd", Ok("inside")),
        ("../../../etc/passwd", Ok("inside")),
        ("to-passwd", Ok("inside")),
        ("slash/slash/etc/passwd", Ok("inside")),
        ("up/etc/passwd", Ok("inside")),
        ("deep/er/../../../../etc/passwd", Ok("inside")),
        ("absolute/secret", Err(io::ErrorKind::NotFound)),
        ("relative/secret", Err(io::ErrorKind::NotFound)),
        ("to-secret", Err(io::ErrorKind::NotFound)),
        ("../outside/secret", Err(io::ErrorKind::NotFound)),
        ("etc", Err(io::ErrorKind::InvalidInput)),
        ("etc/passwd/x", Err(io::ErrorKind::NotADirectory)),
    ] {
        assert_eq!(read(&trap.root, path), expected.map(str::to_owned), "{path}");
    }
}

#[test]
fn writing_stays_inside() {
    let trap = Trap::new();
    let root = &trap.root;
    for folder in ["absolute", "relative", "up/outside", "../outside", "/a/../../outside", "dangling/x"] {
        let folder = Path::new(folder);
        root.mkdir_all(folder, 0o755, OWNER).unwrap();
        root.create_file(&folder.join("new"), 0o644).unwrap();
        root.symlink(Path::new("/"), &folder.join("secret")).unwrap();
        root.set_mode(&folder.join("new"), 0o600).unwrap();
        root.set_owner(&folder.join("new"), OWNER).unwrap();
    }
    trap.check_untouched();
    assert!(trap.dir.path().join("root/var/made/x/new").is_file(), "the dangling link was followed inside");
    root.create_file(Path::new("to-secret"), 0o644).unwrap();
    assert!(root.lstat(Path::new("to-secret")).unwrap().unwrap().is_file(), "a link is replaced, not written through");
    trap.check_untouched();
}

#[test]
fn removal_stays_inside() {
    let trap = Trap::new();
    for path in ["absolute", "relative", "up/outside", "../outside", "relative/secret", "slash", "to-secret", "loop"] {
        trap.root.remove_tree(Path::new(path)).unwrap();
        trap.check_untouched();
    }
    assert!(trap.root.remove_tree(Path::new("/")).is_err());
    assert!(trap.root.remove_tree(Path::new("deep/..")).is_err());
    assert!(trap.root.remove_tree(Path::new("deep")).unwrap());
    assert!(!trap.root.remove_tree(Path::new("deep/er")).unwrap());
    assert_eq!(read(&trap.root, "etc/passwd").as_deref(), Ok("inside"));
}

#[test]
fn changes_do_not_follow_the_last_link() {
    let trap = Trap::new();
    let (root, link) = (&trap.root, Path::new("to-passwd"));
    root.set_owner(link, OWNER).unwrap();
    root.set_times(link, FileTime { seconds: 5, nanoseconds: 7 }).unwrap();
    let node = root.lstat(link).unwrap().unwrap();
    assert_eq!((node.owner, node.modified), (OWNER, FileTime { seconds: 5, nanoseconds: 7 }));
    assert_ne!(root.stat(link).unwrap().unwrap().owner, OWNER);
    assert!(root.set_mode(link, 0o777).is_err());
    assert!(root.set_xattr(link, OsStr::new("user.x"), b"").is_err());
    assert!(root.copy_file(root, link, Path::new("copy"), 0o644).is_err());
    assert_eq!(root.read_link(link).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn a_file_is_opened_for_update_and_keeps_its_content() {
    use std::io::Write as _;
    let trap = Trap::new();
    let (root, passwd) = (&trap.root, Path::new("etc/passwd"));
    root.open_for_update(passwd, 0o644).unwrap().write_all(b"IN").unwrap();
    assert_eq!(read(root, "etc/passwd").as_deref(), Ok("INside"));
    root.open_for_update(Path::new("relative/new"), 0o644).unwrap_err();
    root.open_for_update(Path::new("deep/new"), 0o644).unwrap().write_all(b"new").unwrap();
    assert_eq!(read(root, "deep/new").as_deref(), Ok("new"));
    root.make_node(Path::new("fifo"), NodeKind::Fifo, 0o666, 0).unwrap();
    for refused in ["to-passwd", "to-secret", "dangling", "fifo", "etc"] {
        assert!(root.open_for_update(Path::new(refused), 0o644).is_err(), "{refused}");
    }
    root.sync_folder(Path::new("deep")).unwrap();
    assert!(root.sync_folder(passwd).is_err());
    trap.check_untouched();
}

#[test]
fn fifos_and_limits() {
    let trap = Trap::new();
    trap.root.make_node(Path::new("fifo"), NodeKind::Fifo, 0o666, 0).unwrap();
    assert_eq!(read(&trap.root, "fifo"), Err(io::ErrorKind::InvalidInput), "and it did not block");
    trap.root.make_node(Path::new("whiteout"), NodeKind::CharDevice, 0, 0).unwrap();
    assert_eq!(read(&trap.root, "whiteout"), Err(io::ErrorKind::InvalidInput));
    let passwd = Path::new("etc/passwd");
    assert!(trap.root.read_small(passwd, 6).is_ok());
    assert!(trap.root.read_small(passwd, 5).is_err());
    assert!(trap.root.lstat(Path::new("no/such")).unwrap().is_none());
    assert!(trap.root.stat(Path::new("loop")).is_err());
    assert!(trap.root.mkdir_all(Path::new("loop/x"), 0o755, OWNER).is_err());
    assert!(trap.root.mkdir_all(passwd, 0o755, OWNER).is_err());
}

#[test]
fn folders_get_mode_and_owner() {
    let trap = Trap::new();
    let made = trap.root.mkdir_all(Path::new("deep/new/folder/"), 0o2775, OWNER).unwrap();
    assert_eq!(made, [Path::new("/deep/new"), Path::new("/deep/new/folder")]);
    for folder in made {
        let node = trap.root.lstat(&folder).unwrap().unwrap();
        assert_eq!((node.mode, node.owner), (0o2775, OWNER));
    }
    assert!(trap.root.mkdir_all(Path::new("deep/new/folder"), 0o700, OWNER).unwrap().is_empty());
    assert!(trap.root.mkdir_all(Path::new("/"), 0o700, OWNER).unwrap().is_empty());
    assert_ne!(trap.root.lstat(Path::new("deep")).unwrap().unwrap().owner, OWNER, "what was there stays");
}

#[test]
fn real_names() {
    let trap = Trap::new();
    for (path, expected) in [
        ("/", "/"),
        ("..", "/"),
        ("to-passwd", "/etc/passwd"),
        ("up/etc", "/etc"),
        ("dangling", "/var/made"),
        ("dangling/a/../b", "/var/made/b"),
        ("no/such/../thing", "/no/thing"),
        ("relative/x", "/outside/x"),
    ] {
        assert_eq!(trap.root.resolve(Path::new(path)).unwrap(), Path::new(expected), "{path}");
    }
    assert!(trap.root.resolve(Path::new("loop")).is_err());
}

#[test]
fn copies_and_attributes() {
    let trap = Trap::new();
    let big = vec![7_u8; 3_000_000];
    std::fs::write(trap.dir.path().join("root/big"), &big).unwrap();
    let copy = Path::new("copy");
    assert_eq!(trap.root.copy_file(&trap.root, Path::new("big"), copy, 0o4755).unwrap(), 3_000_000);
    let real = trap.dir.path().join("root/copy");
    assert_eq!(std::fs::read(&real).unwrap(), big);
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o4755);
    let value = vec![b'v'; 1000];
    trap.root.set_xattr(copy, OsStr::new("trusted.long"), &value).unwrap();
    trap.root.set_xattr(copy, OsStr::new("trusted.empty"), b"").unwrap();
    let found = trap.root.xattrs(copy).unwrap();
    assert_eq!(found, [("trusted.empty".into(), Vec::new()), ("trusted.long".into(), value)]);
    assert!(trap.root.xattrs(Path::new("loop")).unwrap().is_empty());
    trap.root.hard_link(copy, Path::new("second")).unwrap();
    trap.root.hard_link(copy, copy).unwrap();
    assert_eq!(std::fs::metadata(&real).unwrap().nlink(), 2);
    trap.root.rename(Path::new("second"), Path::new("etc/third")).unwrap();
    assert!(trap.root.create_file(Path::new("etc"), 0o644).is_err(), "a folder with content stays");
}

#[test]
fn very_deep_trees_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    root.mkdir_all(Path::new("top"), 0o755, OWNER).unwrap();
    let mut current = root.subroot(Path::new("top")).unwrap();
    for _ in 0..5000 {
        current.mkdir_all(Path::new("d"), 0o755, OWNER).unwrap();
        current.create_file(Path::new("f"), 0o644).unwrap();
        current = current.subroot(Path::new("d")).unwrap();
    }
    assert!(root.remove_tree(Path::new("top")).unwrap());
    assert!(root.list(Path::new("/")).unwrap().is_empty());
}

/// A folder that turns into a link and back, thousands of times, while it is written through.
#[test]
fn a_race_does_not_lead_out() {
    let trap = Trap::new();
    let base = trap.dir.path().join("root");
    std::fs::create_dir(base.join("flip")).unwrap();
    symlink("../outside", base.join("flop")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    base.join("flip"),
                    rustix::fs::CWD,
                    base.join("flop"),
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            }
        });
        for round in 0..3000 {
            let path = format!("flip/{round}");
            let _ = trap.root.create_file(Path::new(&path), 0o644);
            let _ = trap.root.mkdir_all(Path::new(&format!("flip/d{round}/x")), 0o755, OWNER);
            let _ = trap.root.remove_tree(Path::new("flip/secret"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    trap.check_untouched();
}

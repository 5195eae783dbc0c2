//! Users and groups of an image: `/etc/passwd` and `/etc/group`, read as the hostile files they are.

use crate::error::{FileError, InstructionError};
use osbs_sandbox::User;
use osbs_sandbox::rooted::{Owner, Root};
use std::path::Path;

/// Larger account files are refused.
const LIMIT: u64 = 4 << 20;
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Absent is empty; a FIFO, a folder or something huge is an error.
fn read(root: &Root, file: &'static str) -> Result<String, InstructionError> {
    let there = root.stat(Path::new(file)).map_err(rooted)?;
    if there.is_none() {
        return Ok(String::new());
    }
    let bytes = root.read_small(Path::new(file), LIMIT).map_err(rooted)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A failed rooted operation, with the image's path.
pub(crate) fn rooted(error: osbs_sandbox::rooted::RootedError) -> InstructionError {
    InstructionError::File(FileError::new(error.operation, error.path, error.source))
}

fn accounts(root: &Root) -> Result<Vec<Account>, InstructionError> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        Some(Account { name: (*name).to_owned(), uid, gid, home: (*home).to_owned() })
    };
    Ok(read(root, PASSWD)?.lines().filter_map(parse).collect())
}

fn groups(root: &Root) -> Result<Vec<Group>, InstructionError> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, rest @ ..] = fields.as_slice() else { return None };
        let members = rest.first().map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
        Some(Group { name: (*name).to_owned(), gid: gid.parse().ok()?, members })
    };
    Ok(read(root, GROUP)?.lines().filter_map(parse).collect())
}

fn group_id(root: &Root, name: &str) -> Result<u32, InstructionError> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let found = groups(root)?.into_iter().find(|group| group.name == name);
    found.map(|group| group.gid).ok_or_else(|| InstructionError::NoSuchAccount {
        what: "group",
        name: name.to_owned(),
        file: GROUP,
    })
}

fn no_user(name: &str) -> InstructionError {
    InstructionError::NoSuchAccount { what: "user", name: name.to_owned(), file: PASSWD }
}

/// `USER[:GROUP]` of `--chown`. A user id without group has that number as group, a user name its own group
/// (Dockerfile reference, COPY --chown).
pub(crate) fn chown(root: &Root, text: &str) -> Result<Owner, InstructionError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let (uid, own_gid) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let account = accounts(root)?.into_iter().find(|it| it.name == user).ok_or_else(|| no_user(user))?;
            (account.uid, account.gid)
        }
    };
    let gid = match group {
        Some(group) if !group.is_empty() => group_id(root, group)?,
        _ => own_gid,
    };
    Ok(Owner { uid, gid })
}

/// `USER[:GROUP]` of USER, for running a command: ids, further groups and the home folder.
pub(crate) fn run_as(root: &Root, text: &str) -> Result<(User, Option<String>), InstructionError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let all = accounts(root)?;
    let account = match user.parse::<u32>() {
        // A name made of digits is looked up as an id, as Docker does.
        Ok(uid) => all.into_iter().find(|it| it.uid == uid).unwrap_or_else(|| Account {
            name: String::new(),
            uid,
            gid: 0,
            home: String::new(),
        }),
        Err(_) => all.into_iter().find(|it| it.name == user).ok_or_else(|| no_user(user))?,
    };
    let (gid, additional_gids) = match group {
        Some(group) if !group.is_empty() => (group_id(root, group)?, Vec::new()),
        _ => {
            let member = |group: &Group| !account.name.is_empty() && group.members.contains(&account.name);
            (account.gid, groups(root)?.into_iter().filter(member).map(|group| group.gid).collect())
        }
    };
    let home = (!account.home.is_empty()).then_some(account.home);
    Ok((User { uid: account.uid, gid, additional_gids }, home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_resolved_in_the_image() {
        let dir = tempfile::tempdir().expect("temp folder");
        std::fs::create_dir(dir.path().join("etc")).expect("etc");
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0:r:/root:/bin/sh\napp:x:100:101::/srv:/bin/sh\nbad\n")
            .expect("passwd");
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\napp:x:101:\nweb:x:33:app,other\n").expect("group");
        let root = Root::open(dir.path()).expect("root");
        let check = |text: &str, uid: u32, gid: u32| {
            assert_eq!(chown(&root, text).expect(text), Owner { uid, gid }, "{text}");
        };
        check("app", 100, 101);
        check("app:web", 100, 33);
        check("55", 55, 55);
        check("55:66", 55, 66);
        check(":web", 0, 33);
        chown(&root, "nobody").expect_err("no such user");
        chown(&root, "app:none").expect_err("no such group");

        let (user, home) = run_as(&root, "app").expect("app");
        assert_eq!((user.uid, user.gid, user.additional_gids, home.as_deref()), (100, 101, vec![33], Some("/srv")));
        let (user, home) = run_as(&root, "7").expect("7");
        assert_eq!((user.uid, user.gid, home), (7, 0, None));
    }

    #[test]
    fn a_fifo_as_passwd_does_not_block() {
        let dir = tempfile::tempdir().expect("temp folder");
        std::fs::create_dir(dir.path().join("etc")).expect("etc");
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("etc/passwd"), fifo, mode, 0).expect("fifo");
        let root = Root::open(dir.path()).expect("root");
        chown(&root, "app").expect_err("not a regular file");
    }
}

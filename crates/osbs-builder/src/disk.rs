//! Names the file system a folder lies on, for "disk full" messages.

use std::path::Path;

/// For example `/var (/dev/vda2, 0 MB free)`.
pub(crate) fn describe(folder: &Path) -> String {
    let free = match rustix::fs::statvfs(folder) {
        Ok(stat) => format!("{} MB and {} inodes free", stat.f_bavail * stat.f_frsize / 1_000_000, stat.f_favail),
        Err(_) => "unknown space free".to_owned(),
    };
    match mount_of(folder) {
        Some((point, device)) => format!("file system {point} ({device}, {free})"),
        None => format!("file system of {} ({free})", folder.display()),
    }
}

/// Mount point and device, by the device number in `/proc/self/mountinfo` (proc(5)).
fn mount_of(folder: &Path) -> Option<(String, String)> {
    let stat = rustix::fs::stat(folder).ok()?;
    let wanted = format!("{}:{}", rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let real = std::fs::canonicalize(folder).ok()?;
    let mut best: Option<(String, String)> = None;
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (number, point) = (fields.nth(2)?, fields.nth(1)?);
        let device = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').nth(1)).unwrap_or("?");
        let longer = best.as_ref().is_none_or(|(so_far, _)| point.len() > so_far.len());
        if number == wanted && longer && real.starts_with(point) {
            best = Some((point.to_owned(), device.to_owned()));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_the_root_file_system_of_a_folder() {
        let text = super::describe(std::path::Path::new("/proc"));
        assert!(text.starts_with("file system /proc (proc, "), "{text}");
    }
}

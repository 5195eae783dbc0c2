//! RPM headers as a database holds them, and the query's lines.

use osbs_rpm::{Package, parse_query_output, read_header};

/// A header blob, or what a query printed.
pub fn rpm_header(data: &[u8]) {
    if let Ok(package) = read_header(data) {
        assert!([&package.name, &package.version, &package.release].iter().all(|text| text.len() <= data.len() * 3));
        let _ = package.to_component();
    }
    for package in parse_query_output(&String::from_utf8_lossy(data)) {
        let line = package.to_query_line();
        assert_eq!(Package::from_query_line(&line), Some(package), "{line:?}");
    }
}

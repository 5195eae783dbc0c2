//! Archives, RPM packages, buildroots, logs, uploads.

use crate::{Value, ValueError};

/// A file of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// Its number.
    pub id: i64,
    /// The build.
    pub build_id: i64,
    /// The buildroot it was made in.
    pub buildroot_id: Option<i64>,
    /// `image`, `maven`, ...
    pub btype: Option<String>,
    /// Name.
    pub filename: String,
    /// Bytes.
    pub size: Option<i64>,
    /// Hex digits.
    pub checksum: Option<String>,
    /// `md5`, `sha1` or `sha256`: a number in answers.
    pub checksum_type: Option<&'static str>,
    /// Type, by the file's name.
    pub type_name: Option<String>,
    /// Architecture of an image.
    pub arch: Option<String>,
    /// What its makers say of it.
    pub extra: Value,
    /// All of it; for maven also `group_id`, `artifact_id`, `version`.
    pub raw: Value,
}

impl Archive {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let checksum_type = raw.int("checksum_type").and_then(|number| match number {
            0 => Some("md5"),
            1 => Some("sha1"),
            2 => Some("sha256"),
            _ => None,
        });
        Ok(Self {
            id: raw.int_of("id")?,
            build_id: raw.int_of("build_id")?,
            buildroot_id: raw.int("buildroot_id"),
            btype: raw.text("btype"),
            filename: raw.str_of("filename")?.to_owned(),
            size: raw.int("size"),
            checksum: raw.text("checksum"),
            checksum_type,
            type_name: raw.text("type_name"),
            arch: raw.text("arch"),
            extra: raw.get("extra").clone(),
            raw,
        })
    }
}

/// An RPM package.
#[derive(Debug, Clone, PartialEq)]
pub struct Rpm {
    /// Its number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Epoch.
    pub epoch: Option<i64>,
    /// Version.
    pub version: String,
    /// Release.
    pub release: String,
    /// Architecture.
    pub arch: String,
    /// MD5 of header and payload, hex digits.
    pub payloadhash: Option<String>,
}

impl Rpm {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            id: raw.int_of("id")?,
            name: raw.str_of("name")?.to_owned(),
            epoch: raw.int("epoch"),
            version: raw.str_of("version")?.to_owned(),
            release: raw.str_of("release")?.to_owned(),
            arch: raw.str_of("arch")?.to_owned(),
            payloadhash: raw.text("payloadhash"),
        })
    }
}

/// Where something was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Buildroot {
    /// Its number.
    pub id: i64,
    /// Content generator.
    pub cg_name: Option<String>,
    /// Its version.
    pub cg_version: Option<String>,
    /// Operating system of the host.
    pub host_os: Option<String>,
    /// Architecture of the host.
    pub host_arch: Option<String>,
    /// Type of container.
    pub container_type: Option<String>,
    /// Architecture in it.
    pub container_arch: Option<String>,
    /// What its makers say of it.
    pub extra: Value,
}

impl Buildroot {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            id: raw.int_of("id")?,
            cg_name: raw.text("cg_name"),
            cg_version: raw.text("cg_version"),
            host_os: raw.text("host_os"),
            host_arch: raw.text("host_arch"),
            container_type: raw.text("container_type"),
            container_arch: raw.text("container_arch"),
            extra: raw.get("extra").clone(),
        })
    }
}

/// A log of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLog {
    /// Name.
    pub name: String,
    /// Folder below that of the logs.
    pub dir: String,
    /// Path below the top URL.
    pub path: String,
}

impl BuildLog {
    /// From an item of `getBuildLogs`.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            name: raw.str_of("name")?.to_owned(),
            dir: raw.text("dir").unwrap_or_default(),
            path: raw.str_of("path")?.to_owned(),
        })
    }
}

/// What there is of an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedUpload {
    /// Bytes.
    pub size: u64,
    /// Hex digits, if a digest was asked for.
    pub hexdigest: Option<String>,
}

impl CheckedUpload {
    /// From the answer of `checkUpload`. Sizes beyond 32 bits may come as text.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self { size: size_of(&raw)?, hexdigest: raw.text("hexdigest") })
    }
}

/// What the hub says it has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedBlock {
    /// Bytes of the block.
    pub size: u64,
    /// Digest of the block, hex digits.
    pub hexdigest: String,
}

impl UploadedBlock {
    /// From the answer of a raw upload.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self { size: size_of(&raw)?, hexdigest: raw.str_of("hexdigest")?.to_owned() })
    }
}

fn size_of(raw: &Value) -> Result<u64, ValueError> {
    let from_text = raw.get("size").as_str().and_then(|text| text.parse().ok());
    let found = from_text.or_else(|| raw.int("size").and_then(|size| u64::try_from(size).ok()));
    found.ok_or_else(|| raw.get("size").is_not("a size"))
}

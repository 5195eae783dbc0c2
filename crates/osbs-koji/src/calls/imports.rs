//! Uploads, and the import of builds by a content generator (client-and-koji 5.4, 6.1).

use super::positional;
use crate::objects::{Build, BuildInfo, CheckedUpload, Reservation};
use crate::{MethodCall, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osbs_types::Secret;

/// `CGInitBuild`: reserves an NVR. If the answer is lost nobody has its token: [`super::cancel_build`] gives it back.
pub fn cg_init_build(cg: &str, name: &str, version: &str, release: &str) -> MethodCall<Reservation> {
    let info = Value::from(BuildInfo::Parts { name, version, release });
    MethodCall::new("CGInitBuild", positional([cg.into(), info]), Reservation::read)
}

/// `CGRefundBuild`: gives a reservation back, as failed or canceled.
pub fn cg_refund_build(cg: &str, build: i64, token: &Secret, state: crate::BuildState) -> MethodCall<()> {
    MethodCall::order("CGRefundBuild", positional([cg.into(), build.into(), token.reveal().into()]))
        .named("state", state as i64)
        .hiding(token)
}

/// `CGImport`: the build; nothing from hubs before 1.11. If the answer is lost, [`super::get_build`] tells whether it was
/// done: a second import would be refused for its token (6.3). `metadata` is a struct, or the name of an uploaded file.
pub fn cg_import(metadata: Value, directory: &str, token: Option<&Secret>) -> MethodCall<Option<Build>> {
    let mut arguments = positional([metadata, directory.into()]);
    arguments.positional.extend(token.map(|token| token.reveal().into()));
    let call = MethodCall::new("CGImport", arguments, |answer| answer.into_option(Build::read));
    token.into_iter().fold(call, MethodCall::hiding)
}

/// `checkUpload`: what there is of a file. With its digest: `.named("verify", "sha256")`.
pub fn check_upload(directory: &str, name: &str) -> MethodCall<Option<CheckedUpload>> {
    MethodCall::new("checkUpload", positional([directory.into(), name.into()]), |answer| {
        answer.into_option(CheckedUpload::read)
    })
}

/// `osbs.removeUploads`: removes an upload folder of ours that no import will take; false: there was none. A call of
/// `osbs hub`: Koji's own has none such, refuses it, and leaves old uploads to its site's clearing.
pub fn remove_uploads(directory: &str) -> MethodCall<bool> {
    MethodCall::new("osbs.removeUploads", positional([directory.into()]), Value::into_bool)
}

/// `uploadFile`: a block of bytes with its SHA-256; false if it came otherwise. Offset -1 ends the file, with the size and
/// digest of the whole. For hubs without raw uploads.
pub fn upload_file(
    directory: &str,
    name: &str,
    size: u64,
    sha256: &str,
    offset: i64,
    bytes: &[u8],
) -> MethodCall<bool> {
    // Sizes beyond 32 bits are sent as <i8>.
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let sum = Value::Array(vec!["sha256".into(), sha256.into()]);
    let data = STANDARD.encode(bytes);
    let arguments = positional([directory.into(), name.into(), size.into(), sum, offset.into(), data.into()]);
    MethodCall::new("uploadFile", arguments, Value::into_bool)
}

//! What must hold for every input: one function a fuzz target, each given raw bytes.
//!
//! A target panics when something does not hold, and does nothing else: no files, no network, no clock. The programs in
//! `fuzz_targets/` hand these functions to the engine; `tests/replay.rs` hands them the kept corpus without it.

mod archive;
mod configuration;
mod dockerfile;
mod documents;
mod expansion;
mod ignore_patterns;
mod koji;
mod layer;
mod names;
mod rpm_header;

pub use archive::archive;
pub use configuration::configuration;
pub use dockerfile::dockerfile;
pub use documents::documents;
pub use expansion::expansion;
pub use ignore_patterns::ignore_patterns;
pub use koji::koji;
pub use layer::layer;
pub use names::names;
pub use rpm_header::rpm_header;

/// A target: its name, which is also that of its program and of its folder in `corpus/`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("archive", archive),
    ("configuration", configuration),
    ("dockerfile", dockerfile),
    ("documents", documents),
    ("expansion", expansion),
    ("ignore_patterns", ignore_patterns),
    ("koji", koji),
    ("layer", layer),
    ("names", names),
    ("rpm_header", rpm_header),
];

/// What goes to a terminal: one screen at most, and nothing that moves the cursor.
pub(crate) fn check_message(text: &str) {
    assert!(text.len() <= 4096, "a message of {} bytes: {}", text.len(), text.chars().take(200).collect::<String>());
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "a message with control characters: {text:?}");
}

//! Heredoc words in a logical line.

/// The shell text consists of one heredoc word and nothing else.
pub(crate) fn is_lone(text: &str) -> bool {
    let _ = text;
    todo!()
}

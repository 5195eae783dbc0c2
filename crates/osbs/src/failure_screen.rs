//! A failure on one screen: what, where, whose fault, what next. Pure text; colours are the caller's.

use crate::terminal::Paint;
use osbs_types::Failure;

/// Lines for a terminal, with a final newline.
pub(crate) fn render(failure: &Failure, paint: Paint) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: &str| {
        for (index, part) in text.lines().enumerate() {
            let label = if index == 0 { label } else { "" };
            out.push_str(&format!("{} {part}\n", paint.dim(&format!("{label:>7}"))));
        }
    };
    for (label, text) in failure.screen() {
        line(label, &if label == "error" { paint.red(&text) } else { text });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::{ErrorKind, Position};

    #[test]
    fn everything_on_one_screen() {
        let failure = Failure::message(ErrorKind::User, "unknown instruction FORM")
            .at(Position { file: "Dockerfile".into(), line: 3, column: Some(1) })
            .with_hint("did you mean FROM?")
            .in_step("native_build");
        insta::assert_snapshot!(render(&failure, Paint::OFF), @r"
          error unknown instruction FORM
           step native_build
          where Dockerfile:3:1
           kind user
           next did you mean FROM?
        ");
    }
}

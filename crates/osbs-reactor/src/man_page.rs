//! Markdown to a man page, for `add_help`: `pulldown-cmark` reads, `roff` escapes, and here is which macro stands for what.
//!
//! Knows no files and no plugins. Whatever the text holds, no line of it becomes a request of roff: text goes through
//! `roff` as whole lines without line ends, and headings are lines below their macro, not arguments of it.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, roman};

/// How far lists, quotes and code stand in, in columns.
const INDENT: &str = "4";
/// Columns of a table are filled up to this width; wider cells stand as they are.
const MAX_FILL: usize = 40;

/// The page's source. The first lines that begin with `% ` are the title block: name with section and manual, author,
/// date.
pub(crate) fn man_page(markdown: &str) -> String {
    let (title, body) = title_block(markdown);
    let mut page = Page::default();
    page.title(&title);
    let options = Options::ENABLE_TABLES | Options::ENABLE_DEFINITION_LIST;
    for event in Parser::new_ext(body, options) {
        page.event(event);
    }
    page.end_text();
    if let Some(author) = title.get(1).filter(|author| !author.is_empty()) {
        page.roff.control("SH", []).text([roman("AUTHORS")]);
        page.roff.text([roman(plain(author))]);
    }
    page.roff.render()
}

/// At most three lines, without their percent sign, and what follows them.
fn title_block(markdown: &str) -> (Vec<&str>, &str) {
    let (mut lines, mut rest) = (Vec::new(), markdown);
    while lines.len() < 3 {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let Some(text) = line.strip_prefix('%').filter(|text| text.is_empty() || text.starts_with([' ', '\r'])) else {
            break;
        };
        lines.push(text.trim());
        rest = after;
    }
    (lines, rest)
}

/// What a cell, a heading or a paragraph is made of: one line, for a line end in it would begin one of roff's.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An argument of a macro. `roff` puts quotes around spaces; the rest is ours.
fn argument(text: &str) -> String {
    match plain(text).replace('\\', "\\(rs").replace('"', "\\(dq").replace('-', "\\-") {
        empty if empty.is_empty() => "\"\"".to_owned(),
        text => text,
    }
}

/// Name, section and manual of `NAME(1) Manual` or `NAME (1) Manual`; a title without a section is of section 1.
fn name_and_section(title: &str) -> (&str, &str, &str) {
    let split = title.split_once('(').and_then(|(name, rest)| {
        let (section, manual) = rest.split_once(')')?;
        section.starts_with(|c: char| c.is_ascii_digit()).then_some((name.trim(), section, manual.trim()))
    });
    split.unwrap_or((title, "1", ""))
}

#[derive(Default)]
struct Page {
    roff: Roff,
    /// The line that is being collected.
    line: Vec<Inline>,
    /// How many of these are open.
    strong: usize,
    emphasis: usize,
    /// Open lists: the next number of a numbered one.
    lists: Vec<Option<u64>>,
    /// Whether the next block is the first of a list item or a definition, whose macro stands already.
    is_item_start: bool,
    /// Where the open links and images lead, and where their text begins.
    links: Vec<(String, usize)>,
    /// Text of an open code block.
    code: Option<String>,
    /// Rows of an open table, the heading row first.
    table: Option<Vec<Vec<String>>>,
}

impl Page {
    fn title(&mut self, title: &[&str]) {
        let (name, section, manual) = name_and_section(title.first().copied().unwrap_or_default());
        let date = title.get(2).copied().unwrap_or_default();
        let arguments = [name, section, date, "", manual].map(argument);
        self.roff.control("TH", arguments.iter().map(String::as_str));
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.text(&text),
            },
            Event::Code(text) => self.line.push(bold(plain(&text))),
            // `<name>` is more often a placeholder than a tag of HTML.
            Event::Html(text) | Event::InlineHtml(text) if !text.trim_start().starts_with("<!--") => self.text(&text),
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => {
                self.end_line();
                self.roff.control("br", []);
            }
            Event::Rule => {
                self.roff.control("sp", []);
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.block(),
            Tag::Heading { level, .. } => self.heading(level),
            Tag::BlockQuote(_) => self.indent(),
            Tag::CodeBlock(_) => {
                self.block();
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                self.end_text();
                if !self.lists.is_empty() {
                    self.indent();
                }
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::DefinitionListTitle => {
                self.end_text();
                self.roff.control("TP", [INDENT]);
                self.strong += 1;
            }
            Tag::DefinitionListDefinition => self.is_item_start = true,
            Tag::Table(_) => {
                self.block();
                self.table = Some(Vec::new());
            }
            Tag::TableHead | Tag::TableRow => self.table.get_or_insert_default().push(Vec::new()),
            Tag::Emphasis => self.emphasis += 1,
            Tag::Strong => self.strong += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push((dest_url.into_string(), self.line.len()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                if level > HeadingLevel::H2 || !self.lists.is_empty() {
                    self.strong -= 1;
                }
                self.end_text();
            }
            TagEnd::BlockQuote(_) => self.outdent(),
            TagEnd::CodeBlock => self.code_block(),
            TagEnd::List(_) => {
                self.end_text();
                self.lists.pop();
                if !self.lists.is_empty() {
                    self.outdent();
                }
                self.is_item_start = false;
            }
            TagEnd::DefinitionListTitle => {
                self.strong -= 1;
                self.end_text();
            }
            TagEnd::TableCell => {
                let cell = text_of(&std::mem::take(&mut self.line));
                if let Some(row) = self.table.as_mut().and_then(|rows| rows.last_mut()) {
                    row.push(cell);
                }
            }
            TagEnd::Table => self.table(),
            TagEnd::Emphasis => self.emphasis -= 1,
            TagEnd::Strong => self.strong -= 1,
            TagEnd::Link | TagEnd::Image => self.link_end(),
            TagEnd::Paragraph | TagEnd::HtmlBlock | TagEnd::Item | TagEnd::DefinitionListDefinition => self.end_text(),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        let text = plain(text);
        self.line.push(match (self.strong, self.emphasis) {
            (0, 0) => roman(text),
            (0, _) => italic(text),
            _ => bold(text),
        });
    }

    /// A new paragraph at the place where blocks stand now: in a list, below the item's text.
    fn block(&mut self) {
        self.end_text();
        if std::mem::take(&mut self.is_item_start) {
            return;
        }
        if self.lists.is_empty() {
            self.roff.control("PP", []);
        } else {
            self.roff.control("IP", ["\"\"", INDENT]);
        }
    }

    /// The heading's text is the line below its macro.
    fn heading(&mut self, level: HeadingLevel) {
        let name = match level {
            HeadingLevel::H1 => "SH",
            HeadingLevel::H2 => "SS",
            _ => "",
        };
        if name.is_empty() || !self.lists.is_empty() {
            self.block();
            self.strong += 1;
        } else {
            self.end_text();
            self.roff.control(name, []);
        }
    }

    fn item(&mut self) {
        self.end_text();
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{}.", *number - 1)
            }
            _ => "\\(bu".to_owned(),
        };
        self.roff.control("IP", [mark.as_str(), INDENT]);
        self.is_item_start = true;
    }

    fn indent(&mut self) {
        self.end_text();
        self.roff.control("RS", [INDENT]);
    }

    fn outdent(&mut self) {
        self.end_text();
        self.roff.control("RE", []);
    }

    fn code_block(&mut self) {
        let code = self.code.take().unwrap_or_default();
        self.indent();
        self.roff.control("nf", []);
        for line in code.lines() {
            let line = line.replace('\t', "        ");
            self.roff.text([roman(plain(&line))]);
        }
        self.roff.control("fi", []);
        self.outdent();
    }

    fn table(&mut self) {
        let rows = self.table.take().unwrap_or_default();
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default().min(MAX_FILL)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.roff.control("nf", []);
        for (number, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ").trim_end().to_owned();
            self.roff.text([if number == 0 { bold(line) } else { roman(line) }]);
        }
        self.roff.control("fi", []);
    }

    /// The place behind the text, unless it is the text.
    fn link_end(&mut self) {
        let Some((url, start)) = self.links.pop() else { return };
        let text = self.line.get(start..).map(text_of).unwrap_or_default();
        if !url.is_empty() && url != text && url.strip_prefix("mailto:") != Some(&text) {
            self.line.push(roman(if text.is_empty() { "<" } else { " <" }));
            self.line.push(italic(plain(&url)));
            self.line.push(roman(">"));
        }
    }

    /// Writes the collected line, if there is something in it.
    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        // A space in front would begin a new line of output.
        while let Some(first) = line.first_mut() {
            let (Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text)) = first else { break };
            *text = text.trim_start().to_owned();
            if !text.is_empty() {
                break;
            }
            line.remove(0);
        }
        if !line.is_empty() {
            self.roff.text(line);
        }
    }

    /// The same at a block's end: what comes next, comes below.
    fn end_text(&mut self) {
        if !self.line.is_empty() {
            self.is_item_start = false;
        }
        self.end_line();
    }
}

fn text_of(line: &[Inline]) -> String {
    let text = |inline: &Inline| match inline {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.clone(),
        Inline::LineBreak => " ".to_owned(),
    };
    line.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// The lines after the title's.
    #[track_caller]
    fn check_body(markdown: &str, expected: &[&str]) {
        let page = man_page(&format!("% t(1)\n\n{markdown}"));
        let lines: Vec<_> = page.lines().skip_while(|line| !line.starts_with(".TH")).skip(1).collect();
        assert_eq!(lines, expected, "{markdown}");
    }

    #[test]
    fn bodies() {
        check_body("# NAME\n## Sub *one*\n### x\n", &[".SH", "NAME", ".SS", "Sub \\fIone\\fR", ".PP", "\\fBx\\fR"]);
        check_body("a **b** `c`\nd  \n.e\n", &[".PP", "a \\fBb\\fR \\fBc\\fR d", ".br", "\\&.e"]);
        check_body("- a\n- b\n\n  c\n", &[".IP \\(bu 4", "a", ".IP \\(bu 4", "b", ".IP \"\" 4", "c"]);
        let nested = [".IP 3. 4", "a", ".RS 4", ".IP \\(bu 4", "b", ".RE", ".IP 4. 4", "c"];
        check_body("3. a\n   - b\n4. c\n", &nested);
        check_body("```\n.so x\n\n  'y\n```\n", &[".PP", ".RS 4", ".nf", "\\&.so x", "", "  \\*(Aqy", ".fi", ".RE"]);
        check_body("[x](http://a/) <http://b/>\n", &[".PP", "x <\\fIhttp://a/\\fR> http://b/"]);
        check_body("> q\n", &[".RS 4", ".PP", "q", ".RE"]);
        check_body("| a | bb |\n|---|---|\n| ccc | d |\n", &[".PP", ".nf", "\\fBa    bb\\fR", "ccc  d", ".fi"]);
        check_body("run <image> now <!-- no -->\n", &[".PP", "run <image> now "]);
        check_body("term\n: meaning\n", &[".TP 4", "\\fBterm\\fR", "meaning"]);
        check_body("a\\\\fB \\\\n(.x\n", &[".PP", "a\\\\fB \\\\n(.x"]);
    }

    #[test]
    fn titles() {
        for (block, expected) in [
            ("% web(8) Pages\n% Ann\n% May 4, 2020\n", ".TH web 8 \"May 4, 2020\" \"\" Pages"),
            ("% web (1) A b\n", ".TH web 1 \"\" \"\" \"A b\""),
            ("% a \"b\\ c\n", ".TH \"a \\(dqb\\(rs c\" 1 \"\" \"\" \"\""),
            ("text\n", ".TH \"\" 1 \"\" \"\" \"\""),
        ] {
            assert!(man_page(block).lines().any(|line| line == expected), "{}", man_page(block));
        }
        let page = man_page("% web(1)\n% Ann <a@b>\n% May\ntext\n");
        assert!(page.ends_with(".PP\ntext\n.SH\nAUTHORS\nAnn <a@b>\n"), "{page}");
    }

    proptest! {
        /// Only macros of ours are requests, whatever the text.
        #[test]
        fn no_request_of_the_texts_own(text in "([-*+.'#>|`%&\\\\\"<!: ]|[a-z\n\t1-3]|\\.so |\\\\n|\n\\.de x|  \n\\.ig){0,60}") {
            let known = ["TH", "SH", "SS", "PP", "IP", "TP", "RS", "RE", "nf", "fi", "br", "sp", "ie", "el"];
            for line in man_page(&text).lines() {
                let request = line.strip_prefix(['.', '\'']).map(|rest| rest.split([' ', '\\']).next().unwrap_or_default());
                prop_assert!(request.is_none_or(|request| known.contains(&request)), "{:?} gave {:?}", text, line);
            }
        }
    }

    /// groff takes the page with every warning on, and shows what was written.
    #[test]
    fn groff_takes_it_without_a_warning() {
        let help = "% web (1) Container Image Pages\n% Ann <a@example.com>\n% March 5, 2024\n# NAME\nweb \\- it's \"quoted\"\n\n\
            ## Usage\n\nRun `podman run <image>`:\n\n    $ podman run 'x' \\\n    .hidden\n\n1. one\n   - in it\n\n     more\n2. two\n\n\
            > quoted\n\n| option | meaning |\n|---|---|\n| `-p` | port \u{e9} |\n\nEnd.  \n.so /etc/passwd\n";
        let mut groff = Command::new("groff")
            .args(["-man", "-ww", "-z", "-Kutf8", "-Tutf8"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("groff is missing: apt-get install groff-base");
        groff.stdin.take().unwrap().write_all(man_page(help).as_bytes()).unwrap();
        let said = groff.wait_with_output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

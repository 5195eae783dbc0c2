//! `RUN --mount=...`: the options of each type, with the defaults of the Dockerfile reference.

use crate::error::{quoted, shown};
use crate::expand::ExpandError;
use crate::words::nearest;
use std::fmt;

/// The text of a `--mount` flag's value, still with variables: resolve it with the environment of the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountText(pub(crate) String);

/// How builds that run at once share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All write at once.
    Shared,
    /// Each concurrent writer gets its own.
    Private,
    /// One after the other.
    Locked,
}

/// A mount with its values, variables substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// `type=bind`, the default type: a folder or file of the context, a stage or an image.
    Bind {
        /// Stage or image; `None` for the context.
        from: Option<String>,
        /// Path in it, `/` by default.
        source: String,
        /// Path in the container.
        target: String,
        /// Writes are refused (the default), else they are thrown away.
        read_only: bool,
    },
    /// `type=cache`: a folder kept from build to build, never part of the image.
    Cache {
        /// Key; the target by default.
        id: String,
        /// Stage or image whose content the cache starts with.
        from: Option<String>,
        /// Path in it.
        source: String,
        /// Path in the container.
        target: String,
        /// `readonly`.
        read_only: bool,
        /// `sharing=`, default shared.
        sharing: Sharing,
        /// Mode of a new folder, default 0755.
        mode: u32,
        /// Owner of a new folder.
        uid: u32,
        /// Group of a new folder.
        gid: u32,
    },
    /// `type=tmpfs`.
    Tmpfs {
        /// Path in the container.
        target: String,
        /// Upper limit in bytes.
        size: Option<u64>,
    },
    /// `type=secret`: a file or variable for this command only.
    Secret {
        /// Key; the base name of the target by default.
        id: String,
        /// File in the container, `/run/secrets/ID` by default; `None` when only `env` was asked for.
        target: Option<String>,
        /// Variable to set.
        env: Option<String>,
        /// Without the secret the build fails.
        required: bool,
        /// Mode, default 0400.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// `type=ssh`: an agent's socket.
    Ssh {
        /// Key, `default` by default.
        id: String,
        /// Socket in the container; `None` for one of the builder's choice.
        target: Option<String>,
        /// Without it the build fails.
        required: bool,
        /// Mode, default 0600.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// What is wrong with a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// A variable in it.
    #[error("the value of {} cannot be expanded", shown(option))]
    Expand {
        /// The option.
        option: String,
        /// Why.
        #[source]
        source: ExpandError,
    },
    /// Quotes that do not end.
    #[error("the quotes around an option have no end, or text follows them")]
    Quotes,
    /// `--mount=`, or two commas in a row.
    #[error("an option is empty; the form is type=TYPE,OPTION=VALUE,...")]
    Empty,
    /// The type.
    #[error("{} is no type of mount; allowed are bind, cache, tmpfs, secret and ssh", quoted(value))]
    Type {
        /// As written.
        value: String,
    },
    /// An option that does not exist, or not for this type.
    #[error("type={mount_type} has no option {}; allowed are {}", quoted(option), allowed.join(", "))]
    Option {
        /// The type.
        mount_type: &'static str,
        /// The option.
        option: String,
        /// What is allowed.
        allowed: &'static [&'static str],
    },
    /// An option's value.
    #[error("{} is {}, it must be {expected}", shown(option), quoted(value))]
    Value {
        /// The option.
        option: String,
        /// As written.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Something that must be there.
    #[error("type={mount_type} needs {needed}")]
    Missing {
        /// The type.
        mount_type: &'static str,
        /// What is missing.
        needed: &'static str,
    },
}

impl MountError {
    /// What to do, when more is known.
    pub(crate) fn hint(&self) -> Option<String> {
        let suggestion = match self {
            Self::Type { value } => nearest(value, TYPES.map(|(name, _)| name)),
            Self::Option { option, allowed, .. } => nearest(option, allowed.iter().copied()),
            _ => None,
        };
        suggestion.map(|suggestion| format!("did you mean {suggestion}?"))
    }
}

/// Each type with its options, other spellings left out.
const TYPES: [(&str, &[&str]); 5] = [
    ("bind", &["target", "source", "from", "readonly", "readwrite"]),
    ("cache", &["target", "id", "source", "from", "readonly", "readwrite", "sharing", "mode", "uid", "gid"]),
    ("tmpfs", &["target", "size"]),
    ("secret", &["id", "source", "target", "env", "required", "mode", "uid", "gid"]),
    ("ssh", &["id", "target", "required", "mode", "uid", "gid"]),
];

/// Options of a mount by their main spelling; the last one given wins.
struct Options {
    mount_type: &'static str,
    values: Vec<(&'static str, String)>,
}

impl MountText {
    /// As written after `--mount=`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The values; `expand` substitutes variables in one option's value.
    ///
    /// # Errors
    /// An unknown type or option, a value of the wrong form, a missing target, a variable that cannot be substituted.
    pub fn resolve(&self, expand: &dyn Fn(&str) -> Result<String, ExpandError>) -> Result<Mount, MountError> {
        Options::read(&self.0, expand)?.mount()
    }

    /// The stage or image that `from=` names, as written.
    pub fn from_stage(&self) -> Option<String> {
        let fields = fields(&self.0).ok()?;
        let from =
            fields.iter().rev().find_map(|field| field.split_once('=').filter(|(k, _)| k.eq_ignore_ascii_case("from")));
        from.map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
    }

    /// All that can be checked before variables have values.
    pub(crate) fn check(&self) -> Result<(), MountError> {
        if self.0.contains('$') {
            return fields(&self.0).map(|_| ());
        }
        self.resolve(&|text| Ok(text.to_owned())).map(|_| ())
    }
}

/// Fields between commas; a field may be quoted as in CSV.
fn fields(text: &str) -> Result<Vec<String>, MountError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (part, tail) = quoted.split_once('"').ok_or(MountError::Quotes)?;
                field.push_str(part);
                // A doubled quote stands for one.
                let Some(more) = tail.strip_prefix('"') else {
                    rest = tail;
                    break;
                };
                field.push('"');
                quoted = more;
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(MountError::Quotes),
        }
    }
}

/// The main spelling of an option.
fn main_spelling(option: &str) -> &str {
    match option {
        "src" => "source",
        "dst" | "destination" => "target",
        "ro" => "readonly",
        "rw" => "readwrite",
        other => other,
    }
}

impl Options {
    fn read(text: &str, expand: &dyn Fn(&str) -> Result<String, ExpandError>) -> Result<Self, MountError> {
        let mut given = Vec::new();
        for field in fields(text)? {
            let (option, value) = match field.split_once('=') {
                Some((option, value)) => (option.to_ascii_lowercase(), Some(value)),
                None => (field.to_ascii_lowercase(), None),
            };
            let value = match value {
                Some(value) => expand(value).map_err(|source| MountError::Expand { option: option.clone(), source })?,
                None if matches!(main_spelling(&option), "readonly" | "readwrite" | "required") => "true".to_owned(),
                // An empty text between commas names nothing that could be followed by something.
                None if option.is_empty() => return Err(MountError::Empty),
                None => return Err(MountError::Value { option, value: String::new(), expected: "followed by =VALUE" }),
            };
            given.push((option, value));
        }
        let name = given.iter().rfind(|(option, _)| option == "type").map_or("bind", |(_, value)| value);
        let found = TYPES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (mount_type, allowed) = found.ok_or_else(|| MountError::Type { value: name.to_owned() })?;
        let mut values = Vec::new();
        for (option, value) in given.into_iter().filter(|(option, _)| option != "type") {
            match allowed.iter().find(|known| **known == main_spelling(&option)) {
                Some(known) => values.push((*known, value)),
                // Without effect there, but accepted by BuildKit for every type.
                None if mount_type == "secret" && option == "from" => {
                    return Err(MountError::Option { mount_type, option, allowed });
                }
                None if matches!(main_spelling(&option), "readonly" | "readwrite" | "source" | "id" | "from") => {}
                None => return Err(MountError::Option { mount_type, option, allowed }),
            }
        }
        Ok(Self { mount_type, values })
    }

    fn text(&self, option: &str) -> Option<String> {
        let value = self.values.iter().rfind(|(name, _)| *name == option).map(|(_, value)| value.clone());
        value.filter(|value| !value.is_empty())
    }

    fn parsed<T>(
        &self,
        option: &str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, MountError> {
        let Some(value) = self.text(option) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| MountError::Value { option: option.to_owned(), value, expected })
    }

    fn switch(&self, option: &str) -> Result<Option<bool>, MountError> {
        self.parsed(option, "true or false", |value| match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
    }

    /// `readonly` and `readwrite`: whichever was written last.
    fn read_only(&self, default: bool) -> Result<bool, MountError> {
        let last = self.values.iter().rfind(|(name, _)| matches!(*name, "readonly" | "readwrite"));
        Ok(match last {
            None => default,
            Some((name, _)) => self.switch(name)?.unwrap_or(true) == (*name == "readonly"),
        })
    }

    fn number(&self, option: &str) -> Result<u32, MountError> {
        Ok(self.parsed(option, "a number", |value| value.parse().ok())?.unwrap_or(0))
    }

    fn mode(&self, default: u32) -> Result<u32, MountError> {
        let mode = self.parsed("mode", "an octal mode such as 0755", |value| u32::from_str_radix(value, 8).ok())?;
        Ok(mode.unwrap_or(default))
    }

    fn target(&self) -> Result<String, MountError> {
        self.text("target").ok_or(MountError::Missing { mount_type: self.mount_type, needed: "target=PATH" })
    }

    fn mount(self) -> Result<Mount, MountError> {
        let root = || "/".to_owned();
        Ok(match self.mount_type {
            "bind" => Mount::Bind {
                from: self.text("from"),
                source: self.text("source").unwrap_or_else(root),
                target: self.target()?,
                read_only: self.read_only(true)?,
            },
            "cache" => {
                let target = self.target()?;
                Mount::Cache {
                    id: self.text("id").unwrap_or_else(|| target.clone()),
                    from: self.text("from"),
                    source: self.text("source").unwrap_or_else(root),
                    target,
                    read_only: self.read_only(false)?,
                    sharing: self
                        .parsed("sharing", "shared, private or locked", |value| {
                            match value.to_ascii_lowercase().as_str() {
                                "shared" => Some(Sharing::Shared),
                                "private" => Some(Sharing::Private),
                                "locked" => Some(Sharing::Locked),
                                _ => None,
                            }
                        })?
                        .unwrap_or(Sharing::Shared),
                    mode: self.mode(0o755)?,
                    uid: self.number("uid")?,
                    gid: self.number("gid")?,
                }
            }
            "tmpfs" => {
                let size = self.parsed("size", "a size such as 64m", size_in_bytes)?;
                Mount::Tmpfs { target: self.target()?, size }
            }
            "secret" => self.secret()?,
            _ => Mount::Ssh {
                id: self.text("id").unwrap_or_else(|| "default".to_owned()),
                target: self.text("target"),
                required: self.switch("required")?.unwrap_or(false),
                mode: self.mode(0o600)?,
                uid: self.number("uid")?,
                gid: self.number("gid")?,
            },
        })
    }

    fn secret(self) -> Result<Mount, MountError> {
        if self.text("id").is_some() && self.text("source").is_some() {
            let (option, expected) = ("source".to_owned(), "left out where there is an id");
            return Err(MountError::Value { option, value: self.text("source").unwrap_or_default(), expected });
        }
        let target = self.text("target");
        let base_name = target.as_deref().and_then(|target| target.rsplit('/').find(|part| !part.is_empty()));
        let id = self.text("id").or_else(|| self.text("source")).or_else(|| base_name.map(str::to_owned));
        let id = id.ok_or(MountError::Missing { mount_type: self.mount_type, needed: "id=NAME or target=PATH" })?;
        let env = self.text("env");
        let target = target.or_else(|| env.is_none().then(|| format!("/run/secrets/{id}")));
        Ok(Mount::Secret {
            target,
            env,
            required: self.switch("required")?.unwrap_or(false),
            mode: self.mode(0o400)?,
            uid: self.number("uid")?,
            gid: self.number("gid")?,
            id,
        })
    }
}

/// `64m`, `1.5GiB`, `1024`: units of 1024, as Docker reads them.
fn size_in_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.trim().trim_end_matches('b').trim_end_matches('i');
    let shift = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit)?;
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(shift as i32);
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

impl fmt::Display for MountText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//! What XML-RPC can say, with Koji's `nil`, and its likeness in JSON.
//!
//! Must not know XML: `xmlrpc` reads and writes it.

use indexmap::IndexMap;

/// A struct's members, in the order in which they were written; equal whatever the order.
pub type Struct = IndexMap<String, Value>;

/// A value of an XML-RPC call (<http://xmlrpc.com/spec.md>, with `nil` and `i8`).
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `nil`: Python's None.
    #[default]
    Nil,
    /// `boolean`.
    Bool(bool),
    /// `int`, or `i8` beyond 32 bits.
    Int(i64),
    /// `double`.
    Double(f64),
    /// `string`.
    String(String),
    /// `base64`: bytes. The hub's own data never use it.
    Bytes(Vec<u8>),
    /// `dateTime.iso8601`, its text as it came. The hub's own data never use it: its times are strings.
    DateTime(String),
    /// `array`.
    Array(Vec<Self>),
    /// `struct`.
    Struct(Struct),
}

/// A value is not of the type that it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is {found}, not {expected}")]
pub struct ValueError {
    /// Where it stands: `extra.image.arch`, `[2].id`.
    pub path: String,
    /// The type that it must have.
    pub expected: &'static str,
    /// The type that it has, or `missing`.
    pub found: &'static str,
}

impl ValueError {
    fn below(self, outer: &str) -> Self {
        let path = if self.path == "the answer" { outer.to_owned() } else { format!("{outer}.{}", self.path) };
        Self { path, ..self }
    }
}

const NIL: Value = Value::Nil;

impl Value {
    /// A struct of these members.
    pub fn members<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Struct(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Its type, in the words of XML-RPC.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Double(_) => "a double",
            Self::String(_) => "a string",
            Self::Bytes(_) => "base64",
            Self::DateTime(_) => "a date",
            Self::Array(_) => "an array",
            Self::Struct(_) => "a struct",
        }
    }

    /// Whether it is `nil`.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// A member of a struct; `nil` if there is none, or this is no struct.
    pub fn get(&self, name: &str) -> &Self {
        match self {
            Self::Struct(members) => members.get(name).unwrap_or(&NIL),
            _ => &NIL,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// An integer. Not a double or a boolean, as the hub is strict about them too.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A number of seconds, a load, a capacity: double or integer.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            Self::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// Whether Python takes it for true.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Double(number) => *number != 0.0,
            Self::String(text) | Self::DateTime(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::Array(items) => !items.is_empty(),
            Self::Struct(members) => !members.is_empty(),
        }
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members of a struct.
    pub fn as_struct(&self) -> Option<&Struct> {
        match self {
            Self::Struct(members) => Some(members),
            _ => None,
        }
    }

    /// A member that must be a string.
    ///
    /// # Errors
    /// It is missing, or of another type.
    pub fn str_of(&self, name: &str) -> Result<&str, ValueError> {
        self.get(name).as_str().ok_or_else(|| self.wrong(name, "a string"))
    }

    /// A member that must be an integer.
    ///
    /// # Errors
    /// It is missing, or of another type.
    pub fn int_of(&self, name: &str) -> Result<i64, ValueError> {
        self.get(name).as_int().ok_or_else(|| self.wrong(name, "an integer"))
    }

    /// A member that must be an array.
    ///
    /// # Errors
    /// It is missing, or of another type.
    pub fn array_of(&self, name: &str) -> Result<&[Self], ValueError> {
        self.get(name).as_array().ok_or_else(|| self.wrong(name, "an array"))
    }

    /// A member that may be missing or of another type: for what is only shown, as hubs of all ages are understood.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).as_str().map(str::to_owned)
    }

    /// An integer member, if there is one.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).as_int()
    }

    /// A number member, if there is one: seconds since the epoch of the `_ts` members.
    pub fn double(&self, name: &str) -> Option<f64> {
        self.get(name).as_double()
    }

    /// The text members of an array member; none if there is no such array.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let items = self.get(name).as_array().unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// This, which must be a string.
    ///
    /// # Errors
    /// It is something else.
    pub fn into_text(self) -> Result<String, ValueError> {
        match self {
            Self::String(text) => Ok(text),
            other => Err(other.is_not("a string")),
        }
    }

    /// This, which must be an integer.
    ///
    /// # Errors
    /// It is something else.
    pub fn into_int(self) -> Result<i64, ValueError> {
        self.as_int().ok_or_else(|| self.is_not("an integer"))
    }

    /// This, which must be a boolean.
    ///
    /// # Errors
    /// It is something else.
    pub fn into_bool(self) -> Result<bool, ValueError> {
        match self {
            Self::Bool(value) => Ok(value),
            other => Err(other.is_not("a boolean")),
        }
    }

    /// This, which must be an array of what `read` reads.
    ///
    /// # Errors
    /// It is something else, or an item is.
    pub fn into_list<T>(self, read: fn(Self) -> Result<T, ValueError>) -> Result<Vec<T>, ValueError> {
        let Self::Array(items) = self else { return Err(self.is_not("an array")) };
        let read = |(at, item)| read(item).map_err(|error| error.below(&format!("[{at}]")));
        items.into_iter().enumerate().map(read).collect()
    }

    /// This, which must be `nil` or what `read` reads.
    ///
    /// # Errors
    /// It is something else.
    pub fn into_option<T>(self, read: fn(Self) -> Result<T, ValueError>) -> Result<Option<T>, ValueError> {
        if self.is_nil() { Ok(None) } else { read(self).map(Some) }
    }

    pub(crate) fn is_not(&self, expected: &'static str) -> ValueError {
        ValueError { path: "the answer".to_owned(), expected, found: self.type_name() }
    }

    fn wrong(&self, name: &str, expected: &'static str) -> ValueError {
        let there = self.as_struct().is_some_and(|members| members.contains_key(name));
        let found = if there { self.get(name).type_name() } else { "missing" };
        ValueError { path: name.to_owned(), expected, found }
    }

    /// The value that JSON text holds. Integers beyond 64 bits become doubles.
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => {
                number.as_i64().map_or_else(|| Self::Double(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
            }
            Json::String(text) => Self::String(text.clone()),
            Json::Array(items) => Self::Array(items.iter().map(Self::from_json).collect()),
            Json::Object(members) => {
                Self::Struct(members.iter().map(|(name, value)| (name.clone(), Self::from_json(value))).collect())
            }
        }
    }

    /// As JSON. Bytes become base64 text, a date its text; what JSON cannot say (infinity) becomes null.
    pub fn to_json(&self) -> serde_json::Value {
        use base64::Engine as _;
        use serde_json::Value as Json;
        match self {
            Self::Nil => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(number) => Json::from(*number),
            Self::Double(number) => Json::from(*number),
            Self::String(text) | Self::DateTime(text) => Json::from(text.as_str()),
            Self::Bytes(bytes) => Json::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Self::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Struct(members) => {
                Json::Object(members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
        }
    }
}

macro_rules! from {
    ($($type:ty => $make:expr),* $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                $make(value)
            }
        })*
    };
}

from!(
    bool => Self::Bool,
    i64 => Self::Int,
    i32 => |value| Self::Int(i64::from(value)),
    u32 => |value| Self::Int(i64::from(value)),
    f64 => Self::Double,
    String => Self::String,
    &str => |value: &str| Self::String(value.to_owned()),
    &String => |value: &String| Self::String(value.clone()),
    Vec<Self> => Self::Array,
    Struct => Self::Struct,
);

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nil, Into::into)
    }
}

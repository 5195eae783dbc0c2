//! States of tasks and builds, by Koji's numbers (client-and-koji 5).

macro_rules! states {
    ($(#[$meta:meta])* $type:ident: $($name:ident = $number:literal, $text:literal;)*) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $type {
            $($name = $number),*
        }

        impl $type {
            /// The state of a number; what is none is a damaged database.
            pub(crate) fn of(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in faults.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }
        }

        impl rusqlite::types::FromSql for $type {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                let number = value.as_i64()?;
                Self::of(number).ok_or(rusqlite::types::FromSqlError::OutOfRange(number))
            }
        }

        impl rusqlite::types::ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok((*self as i64).into())
            }
        }
    };
}

states!(
    /// Of a task.
    TaskState:
    Free = 0, "FREE";
    Open = 1, "OPEN";
    Closed = 2, "CLOSED";
    Canceled = 3, "CANCELED";
    Assigned = 4, "ASSIGNED";
    Failed = 5, "FAILED";
);

states!(
    /// Of a build.
    BuildState:
    Building = 0, "BUILDING";
    Complete = 1, "COMPLETE";
    Deleted = 2, "DELETED";
    Failed = 3, "FAILED";
    Canceled = 4, "CANCELED";
);

impl TaskState {
    /// Whether nothing more will happen to it.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Closed | Self::Canceled | Self::Failed)
    }
}

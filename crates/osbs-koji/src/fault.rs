//! Faults: what a hub answers instead of a result, and whose fault each is.
//!
//! Must not decide on a retry by the text of a fault: it depends on how the hub is configured.

use osbs_types::ErrorKind;
use std::fmt;

/// What a hub answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", FaultCode::of(*code))]
pub struct Fault {
    /// Identifies the class.
    pub code: i64,
    /// The hub's words.
    pub text: String,
}

macro_rules! codes {
    ($($name:ident = $code:literal),* $(,)?) => {
        /// The classes of faults (client-and-koji 5.2), named as Koji names them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "Koji's own names")]
        pub enum FaultCode {
            $($name = $code),*
        }

        impl FaultCode {
            /// The class of a code; one that is not known is the most general one.
            pub fn of(code: i64) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::GenericError,
                }
            }

            /// Its name in Koji.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }
        }
    };
}

codes!(
    Exception = 1,
    GenericError = 1000,
    LockError = 1001,
    AuthError = 1002,
    TagError = 1003,
    ActionNotAllowed = 1004,
    BuildError = 1005,
    AuthLockError = 1006,
    AuthExpired = 1007,
    SequenceError = 1008,
    RetryError = 1009,
    PreBuildError = 1010,
    PostBuildError = 1011,
    BuildrootError = 1012,
    FunctionDeprecated = 1013,
    ServerOffline = 1014,
    LiveCDError = 1015,
    PluginError = 1016,
    CallbackError = 1017,
    ApplianceError = 1018,
    ParameterError = 1019,
    ImportError = 1020,
    ConfigurationError = 1021,
    LiveMediaError = 1022,
    GSSAPIAuthError = 1023,
    NameValidationError = 1024,
    ContainerError = 2001,
    ContainerCancelled = 2002,
);

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FaultCode {
    /// Whose fault it is. A lock and a hub that is offline end by themselves; a missing right is a matter of policy.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::AuthError
            | Self::AuthLockError
            | Self::AuthExpired
            | Self::ActionNotAllowed
            | Self::GSSAPIAuthError
            | Self::TagError => ErrorKind::Policy,
            Self::ContainerCancelled => ErrorKind::Cancelled,
            Self::BuildError | Self::ContainerError | Self::NameValidationError => ErrorKind::User,
            Self::ParameterError | Self::FunctionDeprecated | Self::ImportError => ErrorKind::Internal,
            _ => ErrorKind::Remote,
        }
    }
}

impl Fault {
    /// A fault of a class.
    pub fn new(code: FaultCode, text: impl Into<String>) -> Self {
        Self { code: code as i64, text: text.into() }
    }

    /// Its class.
    pub fn class(&self) -> FaultCode {
        FaultCode::of(self.code)
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.class().kind()
    }
}

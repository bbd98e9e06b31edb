//! Why a service stops, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// A reason to stop. The exit codes are those of `sysexits.h`, so that an operator and a monitor can tell them apart;
/// Kubernetes restarts the pod in every case.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The class of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// 64: the configuration is wrong; a restart won't help.
    Config,
    /// 65: what is in Kafka or the database does not fit this binary (partition counts, state layout).
    Data,
    /// 69: something that must be there is not (a port, a topic).
    Unavailable,
    /// 70: a bug, or an error nobody foresaw.
    Internal,
    /// 75: fenced by a successor, or a deadline passed; a restart is the cure.
    Temporary,
    /// 77: credentials or rights are missing.
    Permission,
}

impl ErrorKind {
    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Config => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Temporary => 75,
            Self::Permission => 77,
        }
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident,)*) => {
        $(
            $(#[$doc])*
            pub fn $name(message: impl fmt::Display) -> Self {
                Self { kind: ErrorKind::$kind, message: message.to_string() }
            }
        )*
    };
}

impl Error {
    constructors! {
        /// [`ErrorKind::Config`].
        config => Config,
        /// [`ErrorKind::Data`].
        data => Data,
        /// [`ErrorKind::Unavailable`].
        unavailable => Unavailable,
        /// [`ErrorKind::Internal`].
        internal => Internal,
        /// [`ErrorKind::Temporary`].
        temporary => Temporary,
        /// [`ErrorKind::Permission`].
        permission => Permission,
    }

    /// Its class.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Its exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.exit_code())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a library put into it.
        for (i, line) in self
            .message
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .enumerate()
        {
            if i > 0 {
                f.write_str("; ")?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

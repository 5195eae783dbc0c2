//! The names under which overlayfs keeps its marks: shared by who mounts overlays and who writes or reads their folders.

/// Names of the xattrs of an overlay (Documentation/filesystems/overlayfs.rst of Linux, "userxattr").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OverlayXattrs {
    /// `trusted.overlay.*`: what root of the machine uses.
    #[default]
    Trusted,
    /// `user.overlay.*`: in a user namespace, where nobody may write `trusted.*`.
    User,
}

impl OverlayXattrs {
    /// `y` in it: the folder hides those of its name below.
    pub fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// The folder's content is that of another name below.
    pub fn redirect(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.redirect",
            Self::User => "user.overlay.redirect",
        }
    }

    /// The file's content is that of one below.
    pub fn metacopy(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.metacopy",
            Self::User => "user.overlay.metacopy",
        }
    }

    /// `trusted` or `user`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::User => "user",
        }
    }
}

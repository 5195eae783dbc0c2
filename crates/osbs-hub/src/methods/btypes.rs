//! To come.

use super::Method;

pub(crate) const METHODS: &[Method] = &[];

//! Registry client: requests and responses as pure functions beside a thin sender.

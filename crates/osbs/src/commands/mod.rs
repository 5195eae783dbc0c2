//! One file a command: its arguments, their help, and what it does.

pub(crate) mod build;
pub(crate) mod build_json;
pub(crate) mod build_logs;
pub(crate) mod cancel_build;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod create_build_image;
pub(crate) mod gc;
pub(crate) mod get_build;
pub(crate) mod get_build_image_id;
pub(crate) mod get_serviceaccount_token;
pub(crate) mod get_token;
pub(crate) mod get_user;
pub(crate) mod hub;
pub(crate) mod image;
pub(crate) mod inside_build;
pub(crate) mod koji_build;
pub(crate) mod kojid;
pub(crate) mod list_builds;
pub(crate) mod login;
pub(crate) mod plugins;
pub(crate) mod print_token_url;
pub(crate) mod reactor;
pub(crate) mod run_build;
pub(crate) mod watch_build;
pub(crate) mod watch_builds;

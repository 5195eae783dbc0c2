//! Waiting for a task of Koji, with a deadline and with words for the log.

use super::KojiSite;
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_koji::{KojiError, TaskState, calls};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// After that long without a change a line in the log says what is waited for.
const SPEAK_AFTER: Duration = Duration::from_mins(1);

/// How a task is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// How often it is asked for.
    pub(crate) every: Duration,
    /// How long at most.
    pub(crate) limit: Duration,
}

/// The arguments that say so, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PatienceArgs {
    pub(crate) poll_interval: Option<f64>,
    pub(crate) poll_timeout: Option<f64>,
}

impl PatienceArgs {
    /// With these seconds where nothing is said. Nobody is asked more than ten times a second.
    pub(crate) fn or(self, every: f64, limit: f64) -> Patience {
        let seconds = |said: Option<f64>, usual: f64, least: f64| {
            Duration::from_secs_f64(said.unwrap_or(usual).clamp(least, 1e7))
        };
        let least = if cfg!(test) { 0.01 } else { 0.1 };
        Patience { every: seconds(self.poll_interval, every, least), limit: seconds(self.poll_timeout, limit, 0.0) }
    }
}

/// Waits until the task has ended well. `what` it does is for messages.
///
/// # Errors
/// It failed, in its own words; it was cancelled; it does not end in time, or is not there.
pub(crate) async fn finished(
    run: &Run,
    koji: &KojiSite,
    task: i64,
    what: &str,
    patience: Patience,
) -> Result<(), PluginError> {
    let (started, mut last, mut spoken) = (Instant::now(), None, Instant::now());
    loop {
        let Some(found) = koji.ask(calls::get_task_info(task, false)).await? else {
            return Err(PluginError::remote(format!("Koji does not know task {task} ({what})")));
        };
        if Some(found.state) != last || spoken.elapsed() >= SPEAK_AFTER {
            (last, spoken) = (Some(found.state), Instant::now());
            let seconds = started.elapsed().as_secs();
            run.log().info(format!("Koji task {task} ({what}) is {} after {seconds} s", found.state));
        }
        match found.state {
            TaskState::Closed => return Ok(()),
            TaskState::Canceled => {
                return Err(ended(task, what, "it was cancelled").with_hint("somebody cancelled it in Koji"));
            }
            TaskState::Failed => return Err(ended(task, what, &reason(koji, task).await)),
            TaskState::Free | TaskState::Open | TaskState::Assigned => {}
        }
        if started.elapsed() + patience.every > patience.limit {
            let text = format!("Koji task {task} ({what}) has not ended after {} s", started.elapsed().as_secs());
            return Err(PluginError::remote(text)
                .with_hint("`koji taskinfo` tells whether a builder has taken it; it may still end"));
        }
        tokio::time::sleep(patience.every).await;
    }
}

fn ended(task: i64, what: &str, why: &str) -> PluginError {
    PluginError::remote(format!("Koji task {task} ({what}) failed: {why}"))
}

/// What a failed task says of itself.
async fn reason(koji: &KojiSite, task: i64) -> String {
    match koji.ask(calls::get_task_outcome(task)).await {
        Ok(Err(fault)) => fault.text.trim().to_owned(),
        Ok(Ok(_)) => "it does not say why".to_owned(),
        Err(error @ KojiError::Fault { .. }) => error.to_string(),
        Err(error) => format!("it cannot be asked why: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience() {
        let usual = PatienceArgs::default().or(5.0, 60.0);
        assert_eq!((usual.every.as_secs(), usual.limit.as_secs()), (5, 60));
        let said = PatienceArgs { poll_interval: Some(-1.0), poll_timeout: Some(f64::INFINITY) }.or(5.0, 60.0);
        assert!(said.every > Duration::ZERO && said.limit > Duration::from_hours(1));
    }
}

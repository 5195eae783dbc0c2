//! Tasks: polled until they end, cancelled when nobody waits any longer.

use crate::PulpError;
use crate::client::Pulp;
use crate::response::{Href, Started, Task, TaskProgress, TaskState};
use osbs_http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Pause before the first look at a task; later ones are longer.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long tasks are waited for, who can stop that, and who is told how far they are.
pub struct Wait<'a> {
    /// Longest time for one task.
    pub limit: Duration,
    /// Stops waiting, and the task.
    pub cancel: &'a CancellationToken,
    /// Told what is done and how far it is.
    pub progress: &'a (dyn Fn(&str, &TaskProgress) + Send + Sync),
}

impl Pulp {
    /// Sends what starts a task, and waits until it has completed.
    pub(crate) async fn run_task(
        &self,
        action: &str,
        method: Method,
        url: Url,
        body: &Value,
        wait: &Wait<'_>,
    ) -> Result<Task, PulpError> {
        let started: Started = self.send(action, method, url, body).await?;
        self.wait_for(action, &started.task, wait).await
    }

    pub(crate) async fn wait_for(&self, action: &str, href: &Href, wait: &Wait<'_>) -> Result<Task, PulpError> {
        let end = Instant::now() + wait.limit;
        let mut pause = FIRST_PAUSE;
        // What was seen last, for the error of a Pulp that answers no more.
        let mut last: Option<Task> = None;
        loop {
            let looked = tokio::select! {
                biased;
                () = wait.cancel.cancelled() => None,
                looked = tokio::time::timeout_at(end.into(), self.object::<Task>(action, href)) => Some(looked),
            };
            let Some(looked) = looked else {
                self.cancel_task(href).await;
                return Err(PulpError::Cancelled);
            };
            if let Ok(task) = looked {
                let task = task?;
                for report in &task.progress_reports {
                    (wait.progress)(action, report);
                }
                if task.state.is_final() {
                    return self.judge(action, href, task);
                }
                last = Some(task);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.cancel_task(href).await;
                return Err(self.deadline(action, href, last.as_ref(), wait.limit));
            }
            tokio::select! {
                () = wait.cancel.cancelled() => {}
                () = tokio::time::sleep(pause.min(left)) => {}
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    fn judge(&self, action: &str, href: &Href, task: Task) -> Result<Task, PulpError> {
        let (action, server, name) = (action.to_owned(), self.host(), href.to_string());
        match task.state {
            TaskState::Completed => Ok(task),
            TaskState::Failed => Err(PulpError::TaskFailed { action, server, task: name, reason: task.reason() }),
            state => Err(PulpError::TaskEnded { action, server, task: name, state: state.as_str() }),
        }
    }

    fn deadline(&self, action: &str, href: &Href, last: Option<&Task>, limit: Duration) -> PulpError {
        PulpError::Deadline {
            action: action.to_owned(),
            server: self.host(),
            task: href.to_string(),
            state: last.map_or("not to be seen", |task| task.state.as_str()),
            progress: last.map(Task::progress).unwrap_or_default(),
            limit,
        }
    }

    /// Nobody waits for it any more. Without effect on a Pulp that does not answer.
    async fn cancel_task(&self, href: &Href) {
        const PATIENCE: Duration = Duration::from_secs(5);
        if let Ok(url) = self.object_url("cancel a task", href, "") {
            let body = json!({"state": "canceled"});
            let sent = self.send::<Value>("cancel a task", Method::PATCH, url, &body);
            let _ = tokio::time::timeout(PATIENCE, sent).await;
        }
    }
}

//! Waiting for a task's end by asking from time to time, as Koji's own clients do.

use crate::{Koji, KojiError, Task, calls};
use std::time::Duration;

impl Koji {
    /// Waits until a task has finished, however it did; then the task, with its arguments.
    ///
    /// # Errors
    /// There is no such task, no answer, or cancelled; the task goes on then.
    pub async fn wait_for_task(&self, task: i64, every: Duration) -> Result<Task, KojiError> {
        while !self.call(calls::task_finished(task)).await? {
            self.wait(every).await?;
        }
        let found = self.call(calls::get_task_info(task, true)).await?;
        found.ok_or_else(|| self.protocol("getTaskInfo", format!("no task {task}, which has finished")))
    }
}

#!/bin/sh
# A runner's job-started hook: no job begins here that the host does not admit.
#
# GitHub, self-hosted: ACTIONS_RUNNER_HOOK_JOB_STARTED=/etc/palisade/job-started.sh in the runner's .env
# Gitea 3.0.0 and newer: runner.hooks.job_started: /etc/palisade/job-started.sh
#
# The path is whole, for a workflow's own variables may hold another PATH. Add --strict to refuse old commits and
# further attempts too, and --app A --environment E where all jobs of this runner belong to one app.
exec /usr/bin/palisade ci admit --hook

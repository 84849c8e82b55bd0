"""Training one network: schedule, epoch, evaluation, and the trial that ties them together."""

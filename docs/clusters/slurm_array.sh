#!/bin/bash
# A study on SLURM as an array of small jobs, here of one GPU each, that share its trials through its results: each with a
# Ray of its own, without a cluster and without waiting for each other. From the project's folder, with [resources]
# gpus_per_trial = 1 in the study (or a fraction):
#   sbatch --array=0-19 docs/clusters/slurm_array.sh studies/meta_loss.toml results/meta_loss
# For CPUs alone, remove the line of GPUs. Further arguments go to `metafa run`. Jobs may begin late, be lost, or be added
# by another sbatch at any time. One whose time is almost up gives back what it has not finished and goes back into the
# queue, as SLURM does with one that is preempted or whose node is lost; what was under way goes on from its checkpoints.
#SBATCH --job-name=metafa
#SBATCH --array=0-19
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@90
set -euo pipefail

study=$1    # a study file
results=$2  # a folder that all nodes share, or s3://BUCKET/FOLDER
source "${METAFA_ENVIRONMENT:-.venv}/bin/activate"

# bash acts on a signal once what it waits for has ended, or at once where that is `wait`: so metafa runs behind it
run="" again=""
stop() {
    again=$1
    if [ -n "$run" ]; then kill -TERM "$run" 2> /dev/null || true; fi
}
trap 'stop yes' USR1 # from --signal: time is almost up
trap 'stop ""' TERM  # from scancel, or where the job is preempted: it is not for us to queue it again

metafa run "$study" --results "$results" "${@:3}" &
run=$!
while :; do
    status=0
    wait "$run" || status=$?
    if ! kill -0 "$run" 2> /dev/null; then break; fi # otherwise it was a signal that ended the wait
done

# a study that is done ends with 0 or 1 and is not queued again. An array's first job goes by the number of the whole
# array, so that $SLURM_JOB_ID alone could mean all of them
if [ -n "$again" ] && [ "$status" -gt 128 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"

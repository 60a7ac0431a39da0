#!/bin/bash
# A study on SLURM: one Ray node a SLURM node, and metafa beside the first of them. From the project's folder:
#   sbatch --nodes=4 --cpus-per-task=32 docs/clusters/slurm.sh studies/meta_loss.toml results/meta_loss
# With GPUs, add --gpus-per-node=4, and in the study [resources] gpus_per_trial = 0.25. When time runs out, submit it
# again: what is done stays done, and what was under way goes on from its checkpoints.
#SBATCH --job-name=metafa
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

study=$1    # a study file
results=$2  # a folder that all nodes share, or s3://BUCKET/FOLDER
source "${METAFA_ENVIRONMENT:-.venv}/bin/activate"

export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}" # metafa reports to nobody

# all nodes of the cluster, and nobody else, know its token; a cluster's home folders would share it between jobs
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{ print $1 }')
port=$((20000 + SLURM_JOB_ID % 20000)) # so that jobs that share a node keep apart
resources=(--num-cpus="$SLURM_CPUS_PER_TASK")
if [ -n "${SLURM_GPUS_ON_NODE:-}" ]; then resources+=(--num-gpus="$SLURM_GPUS_ON_NODE"); fi

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$address" --port="$port" --include-dashboard=false "${resources[@]}" --block &
for _ in $(seq 120); do
    if ray status --address="$address:$port" > /dev/null 2>&1; then break; fi
    sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    others=$((SLURM_JOB_NUM_NODES - 1))
    srun --nodes="$others" --ntasks="$others" --exclude="$head" \
        ray start --address="$address:$port" "${resources[@]}" --block &
fi

metafa run "$study" --results "$results" --address "$address:$port"

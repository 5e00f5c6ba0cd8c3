#!/bin/bash
# One run of the main job on several machines of a Slurm cluster. Submit it from the repository's
# folder, in an environment that has the requirements; the flags are the main job's:
#
#   sbatch docs/slurm.sh --option finetune --smart --rrobin --batch_size 512 --output_dir runs/big
#
# The same command once more goes on where the job was stopped.
#
# Two machines with four GPUs each. There is one task a machine, torchrun, which starts the ranks.
#SBATCH --job-name=minbert
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
# Two minutes before the time limit, the ranks are told to write a checkpoint and stop.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# torchrun kills ranks that have not stopped by then; its default is 30 seconds.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=100

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*} # not `| head`: scontrol may not have written all, and the script would end
port=$((29400 + SLURM_JOB_ID % 1000)) # another job may be on the same machine

# RANKS_PER_NODE=8 sbatch ... is for machines without GPUs.
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    torchrun --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="${RANKS_PER_NODE:-gpu}" \
    --max-restarts=3 --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d \
    --rdzv-endpoint="$head:$port" multitask_classifier.py "$@" --resume

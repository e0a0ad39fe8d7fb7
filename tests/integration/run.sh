#!/usr/bin/env bash
# nnU-Net's own integration scenario with a trainer of this package; --help says more.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/integration/run.sh TRAINER [ITERATIONS]

Takes nnU-Net's integration data sets (Hippocampus as it is, with an ignore label, with regions, with both), trains all
five folds of 2d, 3d_fullres, 3d_lowres and 3d_cascade_fullres with the stock commands (2D networks: 2d only), finds the
best configuration, predicts the test cases with it and post-processes them. The last line of output is a summary.

  TRAINER     such as nnUNetTrainerSwinUNETRReca_tiny_1epochs
  ITERATIONS  training steps per epoch (default: the trainer's own)

Environment:
  WORK      folder of raw data, preprocessed data, results and logs (default: a new temporary one). Name it again to go
            on after a stop, or to use its preprocessed data for another trainer
  CASES     training cases per data set, at least 5, and as many test cases at most (default: all)
  DATASETS  some of 999 (as it is), 998 (ignore), 997 (regions), 996 (regions and ignore); default: all
  DEVICE    cpu or cuda (default: cuda where there is one)
  nnUNet_raw  its Dataset004_Hippocampus is taken if it has one, otherwise that in examples/
TEXT
}

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { printf 'run.sh: %s\n' "$*" >&2; exit 2; }

# Runs a command with its output in a log; a failure shows its end and stops everything.
logged() {
  local log="$WORK/logs/$1.log"
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" > "$log" 2>&1; then
    tail -n 30 "$log" >&2
    printf 'run.sh: stopped at: %s\n  log: %s\n  go on with: WORK=%s %s\n' "$*" "$log" "$WORK" "$INVOCATION" >&2
    exit 1
  fi
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
[[ $# -ge 1 && $# -le 2 ]] || { usage >&2; exit 2; }
TRAINER=$1
ITERATIONS=${2:-}
[[ -z $ITERATIONS || $ITERATIONS =~ ^[1-9][0-9]*$ ]] || fail "expected ITERATIONS to be a positive number, got $ITERATIONS"
CASES=${CASES:-}
[[ -z $CASES || $CASES =~ ^([5-9]|[1-9][0-9]+)$ ]] || fail "expected CASES to be a number from 5 on, got $CASES"
read -ra DATASETS <<< "${DATASETS:-999 998 997 996}"
for dataset in "${DATASETS[@]}"; do
  [[ $dataset =~ ^99[6-9]$ ]] || fail "expected DATASETS of 999 998 997 996, got $dataset"
done
command -v nnUNetv2_train > /dev/null || fail "nnUNetv2_train is not on the PATH; activate the environment of nnunet_reca"
INVOCATION="CASES=$CASES DATASETS='${DATASETS[*]}' $0 $*"

HERE=$(cd "$(dirname "$0")" && pwd)
dimensions=$(python -c '
import sys
from nnunet_reca import trainers
from nnunet_reca.plans.networks import NETWORKS
try:
    print(*NETWORKS[getattr(trainers, sys.argv[1]).reca_network].dimensions)
except (AttributeError, ValueError) as error:
    sys.exit(f"run.sh: {error}")
' "$TRAINER") || exit 2
CONFIGURATIONS=(2d)
[[ $dimensions != *3* ]] || CONFIGURATIONS+=(3d_fullres 3d_lowres 3d_cascade_fullres)  # the cascade needs all of 3d_lowres
DEVICE=${DEVICE:-$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')}

SOURCE="$HERE/../../examples/Dataset004_Hippocampus"
[[ -z ${nnUNet_raw:-} || ! -d $nnUNet_raw/Dataset004_Hippocampus ]] || SOURCE="$nnUNet_raw/Dataset004_Hippocampus"
WORK=${WORK:-$(mktemp -d "${TMPDIR:-/tmp}/nnunet_reca_integration.XXXXXX")}
mkdir -p "$WORK"/{raw,preprocessed,results,logs,done}
WORK=$(cd "$WORK" && pwd)
export nnUNet_raw="$WORK/raw" nnUNet_preprocessed="$WORK/preprocessed" nnUNet_results="$WORK/results"
export nnUNet_n_proc_DA=${nnUNet_n_proc_DA:-2} nnUNet_def_n_proc=${nnUNet_def_n_proc:-2}
[[ -z $ITERATIONS ]] || export nnUNet_reca_iterations_per_epoch=$ITERATIONS
started=$(date +%s)
say "$TRAINER on ${DATASETS[*]}: ${CONFIGURATIONS[*]}, device $DEVICE, folder $WORK"

if [[ ! -e $WORK/done/cases ]]; then
  rm -rf "$WORK/raw/Dataset004_Hippocampus"
  python "$HERE/../support/copy_cases.py" "$SOURCE" "$WORK/raw/Dataset004_Hippocampus" ${CASES:+"$CASES"}
  echo "${CASES:-all}" > "$WORK/done/cases"
fi
[[ $(< "$WORK/done/cases") == "${CASES:-all}" ]] \
  || fail "expected CASES=$(< "$WORK/done/cases"), with which $WORK was made, got ${CASES:-all}; name another WORK"

for dataset in "${DATASETS[@]}"; do
  [[ ! -e $WORK/done/preprocessed_$dataset ]] || continue
  say "data set $dataset: convert, plan, preprocess"
  rm -rf "$WORK"/{raw,preprocessed}/Dataset"${dataset}"_*
  case $dataset in
    999) module=Dataset999_IntegrationTest_Hippocampus ;;
    998) module=Dataset998_IntegrationTest_Hippocampus_ignore ;;
    997) module=Dataset997_IntegrationTest_Hippocampus_regions ;;
    996) module=Dataset996_IntegrationTest_Hippocampus_regions_ignore ;;
  esac
  logged "$dataset/convert" python -m "nnunetv2.dataset_conversion.datasets_for_integration_tests.$module"
  logged "$dataset/plan" nnUNetv2_plan_and_preprocess -d "$dataset" --verify_dataset_integrity --no_pp -npfp "$nnUNet_def_n_proc"
  logged "$dataset/lowres" python -m nnunetv2.tests.integration_tests.add_lowres_and_cascade -d "$dataset"
  logged "$dataset/preprocess" nnUNetv2_preprocess -d "$dataset" -c 2d 3d_lowres 3d_fullres -np "$nnUNet_def_n_proc"
  touch "$WORK/done/preprocessed_$dataset"
done

models=0
for dataset in "${DATASETS[@]}"; do
  name=$(basename "$WORK"/raw/Dataset"${dataset}"_*)
  for configuration in "${CONFIGURATIONS[@]}"; do
    say "data set $dataset, $configuration: folds 0-4"
    for fold in 0 1 2 3 4; do
      folder="$WORK/results/$name/${TRAINER}__nnUNetPlans__$configuration/fold_$fold"
      models=$((models + 1))
      [[ ! -e $folder/validation/summary.json ]] || continue
      go_on=()
      compgen -G "$folder/checkpoint_*.pth" > /dev/null && go_on=(--c)
      logged "$dataset/$TRAINER/${configuration}_$fold" \
        nnUNetv2_train "$dataset" "$configuration" "$fold" -tr "$TRAINER" --npz -device "$DEVICE" ${go_on[@]+"${go_on[@]}"}
    done
  done
  best="$WORK/done/best_${dataset}_$TRAINER"
  if [[ ! -e $best ]]; then
    say "data set $dataset: best configuration, inference, post-processing"
    rm -rf "$WORK/predictions/$TRAINER/$name"
    logged "$dataset/$TRAINER/best" python "$HERE/best_configuration_inference.py" -d "$dataset" -tr "$TRAINER" \
      -c "${CONFIGURATIONS[@]}" -o "$WORK/predictions/$TRAINER/$name" --summary "$best" -device "$DEVICE"
  fi
  say "data set $dataset: $(< "$best")"
done

summary=""
for dataset in "${DATASETS[@]}"; do
  summary+="; $dataset $(< "$WORK/done/best_${dataset}_$TRAINER")"
done
say "passed: $TRAINER, ${#DATASETS[@]} data sets, $models models, $(($(date +%s) - started)) s$summary"

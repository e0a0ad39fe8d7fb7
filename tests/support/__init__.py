"""What tests share: plans, data sets, trained models, golden cases, and checks that several of them run."""

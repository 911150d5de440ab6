.DEFAULT_GOAL := help
.PHONY: help test
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'
test: ## run all tests
	cargo test --workspace

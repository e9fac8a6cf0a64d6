"""World models: JEPAs whose context is the past, whose target is the future and whose condition is what was done."""

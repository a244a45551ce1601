"""llama-server's dialect: /completion, /infill, /props, /slots and the like."""

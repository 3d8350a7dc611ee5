"""llama.cpp, which runs GGUF files; its server is a child process of ours."""

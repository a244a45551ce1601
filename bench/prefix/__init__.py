"""What is it worth that no prefix is computed twice, and that a chat goes where its history is?"""

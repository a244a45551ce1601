"""The worth of computing no prefix twice, and of sending a chat to where its history is."""

"""What an agent may be told to do: each keeps the contract of `schedtuna.agent.contract`."""

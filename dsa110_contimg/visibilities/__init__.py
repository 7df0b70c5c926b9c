"""The visibilities of a published Measurement Set in memory, and what the MS says of itself."""

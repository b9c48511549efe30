# SPDX-License-Identifier: Apache-2.0
"""The wires: the forms in which providers report usage, each as pure functions to `Facts`.

A provider is not a wire. Many speak several, and the first three are spoken by most.
"""

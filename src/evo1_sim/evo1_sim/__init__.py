"""MuJoCo cells of the xArm6 and the SO-100 with the topics of the real arms."""

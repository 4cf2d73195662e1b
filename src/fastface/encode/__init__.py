"""What writes videos: planes of pictures, H.264, sound, containers; shared by :mod:`fastface.drawing` and
:mod:`fastface.clip`."""

#!/bin/sh
# Makes the clips of this folder and expected.txt, with ffmpeg and libx264. Run it in this folder.
# The clips need not come out byte for byte the same with another ffmpeg; expected.txt then
# changes with them.
set -eu
ff() { ffmpeg -v error -nostdin -y -bitexact "$@"; }
picture="testsrc2=s=66x50:r=25"
x264="-c:v libx264 -preset slow -crf 30 -pix_fmt yuv420p"

# B pictures with pyramid, cropping at the right and below, a keyframe every 10 frames, index last.
ff -f lavfi -i "$picture:d=1" $x264 -bf 3 -b_strategy 0 -g 10 -keyint_min 10 bframes.mp4
# The same, index first: cut off, it still opens.
ff -i bframes.mp4 -c copy -movflags +faststart faststart.mp4
# Begins in the middle of a group of pictures: the edit list hides the first frames.
ff -ss 0.5 -i bframes.mp4 -c copy trimmed.mp4
# Begins with 0.48 s of nothing: an empty edit before the video (sound fills it).
ff -itsoffset 0.48 -i bframes.mp4 -f lavfi -i anullsrc=r=8000:cl=mono -map 0:v -map 1:a \
    -c:v copy -c:a aac -t 1.2 delayed.mov
# No edit list: the first frame has a time above 0.
ff -i bframes.mp4 -c copy -use_editlist 0 no_edits.mp4
# Uneven times between frames.
ff -f lavfi -i "$picture:d=2" -vf "select='not(mod(n,3))+not(mod(n,7))'" -vsync vfr $x264 -bf 2 \
    uneven.mp4
# In fragments, as recorders write it.
ff -i bframes.mp4 -c copy -movflags frag_keyframe+empty_moov fragments.mp4
# A phone held upright, and the other ways round.
ff -i bframes.mp4 -c copy -metadata:s:v:0 rotate=90 turned_90.mp4
ff -i bframes.mp4 -c copy -metadata:s:v:0 rotate=180 turned_180.mp4
ff -i bframes.mp4 -c copy -metadata:s:v:0 rotate=270 turned_270.mp4
# Several slices a picture, full range, BT.709.
ff -f lavfi -i "$picture:d=0.4" -c:v libx264 -crf 30 -pix_fmt yuvj420p -colorspace bt709 \
    -x264-params slices=3 slices.mp4
# Baseline (CAVLC, no B pictures).
ff -f lavfi -i "$picture:d=0.4" $x264 -profile:v baseline baseline.mp4

# What ffmpeg makes of each: sha256 of all pictures as yuv420p, then the times in milliseconds.
for clip in baseline.mp4 bframes.mp4 delayed.mov faststart.mp4 fragments.mp4 no_edits.mp4 \
    slices.mp4 trimmed.mp4 turned_180.mp4 turned_270.mp4 turned_90.mp4 uneven.mp4 \
    ../../../assets/street.mp4; do
    [ -e "$clip" ] || continue
    sum=$(ffmpeg -v error -nostdin -i "$clip" -map 0:v:0 -vsync passthrough -f rawvideo - |
        sha256sum | cut -d' ' -f1)
    times=$(ffprobe -v error -select_streams v:0 -show_entries frame=best_effort_timestamp_time \
        -of csv=p=0 "$clip" | awk -F, '$1 != "" { printf "%s%.3f", sep, $1 * 1000; sep = "," }')
    echo "$(basename "$clip") $sum $times"
done > expected.txt

# Refused: other codings, kinds of H.264 that are not decoded, and no video at all.
ff -f lavfi -i "$picture:d=0.2" -c:v libx265 -x265-params log-level=none -pix_fmt yuv420p h265.mp4
ff -f lavfi -i "$picture:d=0.2" -c:v mpeg4 mpeg4.mp4
ff -f lavfi -i "$picture:d=0.2" -c:v libx264 -pix_fmt yuv444p yuv444.mp4
ff -f lavfi -i "$picture:d=0.2" -c:v libx264 -qp 0 -pix_fmt yuv420p lossless.mp4
ff -f lavfi -i anullsrc=r=8000:cl=mono -c:a aac -t 0.2 sound.mp4

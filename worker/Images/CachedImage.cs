using Contracts;

namespace Worker.Images;

/// <summary>Where the files of a registered image stand on this node.</summary>
public abstract record CachedImage
{
    /// <summary>Each is here and verified.</summary>
    public sealed record Ready(VerifiedImage Image) : CachedImage;

    /// <summary>They are being fetched, or read for their digests. <c>Bytes</c>: how many of <c>Total</c> are here.</summary>
    public sealed record Coming(long Bytes, long Total) : CachedImage;

    /// <summary>One could not be fetched; it is tried again by itself.</summary>
    public sealed record Delayed(Reason Reason, string Detail) : CachedImage;
}

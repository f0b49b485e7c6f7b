namespace Contracts;

/// <summary>How far apart an API and a worker may be. Pure: a table in the tests. One minor version apart they go on; any further, and one of them has to be updated first.</summary>
public static class ProtocolSkew
{
    public enum Judgement { Fits, TooOld, TooNew }

    /// <summary>What the other side is, seen from this one.</summary>
    public static Judgement Of(int ownMajor, int ownMinor, int otherMajor, int otherMinor) =>
        otherMajor != ownMajor ? otherMajor < ownMajor ? Judgement.TooOld : Judgement.TooNew
        : otherMinor < ownMinor - 1 ? Judgement.TooOld
        : otherMinor > (long)ownMinor + 1 ? Judgement.TooNew
        : Judgement.Fits;

    /// <summary>As <see cref="Of"/>, seen from this build.</summary>
    public static Judgement OfOther(int major, int minor) => Of(NodeProtocol.Version, NodeProtocol.Minor, major, minor);
}

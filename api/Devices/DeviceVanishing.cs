using Contracts;

namespace Api.Devices;

/// <summary>The one quarantine that the API sets by itself: of a device that its node no longer shows and that no sandbox can have any more.</summary>
public static class DeviceVanishing
{
    public const string Reason = "DeviceVanished";

    public static Failure Of(string address, string node, DateTimeOffset now) => new(Reason, $"{node} no longer has {address}.",
        "Look for a hot-unplug, a link error or a changed rule on the node; it is handed out again once its node shows it clean. To forget it until then, release it.", now);

    public static bool IsIt(Failure? quarantine) => quarantine?.Reason == Reason;
}

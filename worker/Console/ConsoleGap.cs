using System.Globalization;
using System.Text;

namespace Worker.Console;

// Pure: whether a guest may have put out something while nobody listened, and the line that says so.
internal static class ConsoleGap
{
    /// <summary>A VMM makes its socket before the guest runs, and is connected to at once: less than this is no gap.</summary>
    public static readonly TimeSpan StartTime = TimeSpan.FromSeconds(2);

    /// <summary><c>before</c>: who was listened to last; <c>socketStamp</c>: which VMM's socket this is; <c>madeAt</c>: when that VMM made it.
    /// Null when nothing can have been lost.</summary>
    public static byte[]? Marker(ConsoleListening? before, long socketStamp, DateTimeOffset madeAt, DateTimeOffset now)
    {
        TimeSpan away;
        if (before is { } last && last.SocketStamp == socketStamp)
            away = now - last.Until;
        else if (now - madeAt is var age && age >= StartTime)
            away = age;
        else
            return null;
        var seconds = Math.Max(1, (long)Math.Ceiling(away.TotalSeconds));
        return Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\r\n[no worker listened for {seconds} s]\r\n"));
    }
}

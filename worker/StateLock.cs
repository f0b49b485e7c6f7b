namespace Worker;

/// <summary>Keeps two workers, or two trace keepers, from one state directory. The kernel gives the lock back however its holder ends.</summary>
public sealed class StateLock : IDisposable
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);
    /// <summary>Whoever can open a file can lock it: nobody else can.</summary>
    private static readonly FileStreamOptions Options = new()
    {
        Mode = FileMode.OpenOrCreate,
        Access = FileAccess.ReadWrite,
        Share = FileShare.None,
        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
    };
    private readonly FileStream _file;

    private StateLock(FileStream file) => _file = file;

    /// <summary>Null when another process still holds it after the limit.</summary>
    public static async Task<StateLock?> TakeAsync(string directory, TimeSpan limit, string name = "worker.lock")
    {
        var from = TimeProvider.System.GetTimestamp();
        while (true)
        {
            try
            {
                return new StateLock(new FileStream(Path.Combine(directory, name), Options));
            }
            catch (IOException) when (TimeProvider.System.GetElapsedTime(from) < limit)
            {
                await Task.Delay(RetryDelay, TimeProvider.System);
            }
            catch (IOException)
            {
                return null;
            }
        }
    }

    public void Dispose() => _file.Dispose();
}

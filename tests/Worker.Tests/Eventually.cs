namespace Worker.Tests;

/// <summary>The shared wait, for conditions that are read without waiting.</summary>
internal static class Eventually
{
    public static Task TrueAsync(Func<bool> condition, string what, int seconds = 10) =>
        Testing.Eventually.Async(condition, what, TimeSpan.FromSeconds(seconds));

    public static Task<T> GetAsync<T>(Func<T?> read, string what, int seconds = 10) where T : class =>
        Testing.Eventually.GetAsync(() => Task.FromResult(read()), what, TimeSpan.FromSeconds(seconds));
}

<?php
/* GET /file/NAME: a file of the public folder, with validators and ranges (RFC 9110).
 *
 * A request cannot escape the public folder: a name is one path segment, and the opened file must be
 * the regular file that lstat saw, so a symbolic link is not followed even if it is swapped in
 * between (PHP has no O_NOFOLLOW). A long-running server must also clear PHP's stat cache, which
 * lasts as long as the script.
 */

declare(strict_types=1);

const TYPES = [
    'css' => 'text/css',
    'html' => 'text/html',
    'js' => 'text/javascript',
    'json' => 'application/json',
    'png' => 'image/png',
    'svg' => 'image/svg+xml',
    'txt' => 'text/plain',
];
const REGULAR = 0100000;                 // S_IFREG among the bits S_IFMT (man inode(7))
const FORMAT = 0170000;
const MONTHS = [
    'Jan' => 1, 'Feb' => 2, 'Mar' => 3, 'Apr' => 4, 'May' => 5, 'Jun' => 6,
    'Jul' => 7, 'Aug' => 8, 'Sep' => 9, 'Oct' => 10, 'Nov' => 11, 'Dec' => 12,
];

/** Answer for /file/NAME: 200, 206, 304, 404 or 416. */
function serve_file(Request $request, string $name): Response
{
    $file = open_public($name);
    $details = fstat($file);
    $size = $details['size'];
    $modified = $details['mtime'];
    $tag = sprintf('"%x-%x"', $modified, $size);
    $validators = [
        'Last-Modified' => gmdate('D, d M Y H:i:s', $modified) . ' GMT',
        'ETag' => $tag,
    ];
    if (is_fresh($request, $tag, $modified)) {
        return new Response(304, $validators, '');
    }
    $dot = strrpos($name, '.');
    $ending = strtolower($dot === false ? $name : substr($name, $dot + 1));
    $headers = ['Content-Type' => TYPES[$ending] ?? 'application/octet-stream'] + $validators;
    $headers['Accept-Ranges'] = 'bytes';
    $span = range_asked($request, $tag, $modified, $size);
    if ($span === null) {
        return new Response(200, $headers + ['Content-Length' => $size], body_of($file, $size));
    }
    return serve_span($file, $size, $headers, ...$span);
}

function serve_span(mixed $file, int $size, array $headers, int $begin, int $length): Response
{
    if ($length === 0) {
        $line = "the range begins beyond the file: it has $size bytes";
        return text(416, $line, ['Content-Range' => "bytes */$size"]);
    }
    $headers['Content-Range'] = sprintf('bytes %d-%d/%d', $begin, $begin + $length - 1, $size);
    $headers['Content-Length'] = $length;
    fseek($file, $begin);
    return new Response(206, $headers, body_of($file, $length));
}

function open_public(string $name): mixed
{
    $folder = getenv('CHAINLAB_PUBLIC') ?: dirname(__DIR__) . '/app/public';
    $path = "$folder/$name";
    clearstatcache();
    if ($name === '' || $name === '.' || $name === '..' || strpbrk($name, "/\0") !== false
        || !($seen = @lstat($path)) || ($seen['mode'] & FORMAT) !== REGULAR) {
        throw no_such_file();
    }
    $file = @fopen($path, 'rb');
    if ($file === false) {               // out of descriptors: not the client's fault
        throw is_readable($path) ? new RuntimeException("cannot open $path") : no_such_file();
    }
    $opened = fstat($file);
    if ($opened['ino'] !== $seen['ino'] || $opened['dev'] !== $seen['dev']) {
        throw no_such_file();
    }
    return $file;
}

function no_such_file(): Refused
{
    return new Refused(404, 'no such file: /file/ has hello.txt, index.html, pattern.bin, pixel.svg');
}

/** Whether the client's copy is current, by If-None-Match or else If-Modified-Since. */
function is_fresh(Request $request, string $tag, int $modified): bool
{
    $wanted = $request->field('if-none-match');
    if ($wanted !== null) {
        preg_match_all('/(?:W\/)?("[^"]*")/', $wanted, $tags);
        return trim($wanted) === '*' || in_array($tag, $tags[1], true);
    }
    $moment = parse_date($request->field('if-modified-since') ?? '');
    return $moment !== null && $modified <= $moment;
}

/** Return [begin, length] of a single range, length 0 if unsatisfiable; null: the whole file. */
function range_asked(Request $request, string $tag, int $modified, int $size): ?array
{
    $asked = $request->field('range');
    if ($asked === null || $request->method !== 'GET') {
        return null;
    }
    $condition = $request->field('if-range');
    if ($condition !== null && $condition !== $tag && parse_date($condition) !== $modified) {
        return null;
    }
    if (!preg_match('/^bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*$/iD', $asked, $match)) {
        return null;
    }
    [, $first, $last] = $match;
    if ($first === '') {
        if ($last === '') {
            return null;
        }
        $length = min((int) $last, $size); // (int) stops at PHP_INT_MAX
        return [$size - $length, $length];
    }
    $begin = (int) $first;
    $end = $last === '' ? PHP_INT_MAX : (int) $last;
    if ($end < $begin) {
        return null;
    }
    return [$begin, max(0, min($end, $size - 1) - $begin + 1)];
}

/** Return the seconds since 1970 of an HTTP date (RFC 9110 section 5.6.7); null: not a date. */
function parse_date(string $value): ?int
{
    $clock = '([0-9]{2}):([0-9]{2}):([0-9]{2})';
    if (preg_match("/^[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) $clock GMT\$/D", $value, $m)) {
        [, $day, $month, $year, $hour, $minute, $second] = $m;
    } elseif (preg_match("/^[A-Z][a-z]{5,8}, ([0-9]{2})-([A-Z][a-z]{2})-([0-9]{2}) $clock GMT\$/D", $value, $m)) {
        [, $day, $month, $year, $hour, $minute, $second] = $m;
        $year = ($year >= '70' ? '19' : '20') . $year;
    } elseif (preg_match("/^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ 0-9][0-9]) $clock ([0-9]{4})\$/D", $value, $m)) {
        [, $month, $day, $hour, $minute, $second, $year] = $m;
    } else {
        return null;
    }
    $number = MONTHS[$month] ?? 0;
    if ($hour > 23 || $minute > 59 || $second > 60 || $year < 1970
        || !checkdate($number, (int) trim($day), (int) $year)) {
        return null;
    }
    return gmmktime((int) $hour, (int) $minute, (int) $second, $number, (int) trim($day), (int) $year);
}
